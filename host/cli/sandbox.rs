//! `mortise sandbox`: runs a plugin for its own tests, whose fake host answers what it imports.
//!
//! It is not for people: `mortise_guest::testing` starts it, and they speak over its standard input and output.

use std::io::{self, BufReader, BufWriter, ErrorKind, Stdin, Stdout};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::protocol::{FromSandbox, FromTest, Loaded, Outcome};
use super::{WithHint as _, timeout};
use crate::capability::store::{Access, Options, Store};
use crate::capability::upstream::{Journal, Usage};
use crate::config::{Config, Linking, Plugin};
use crate::deadline::Deadline;
use crate::generations::{Finished, Generation, Loader, PluginSettings};
use crate::metadata::{AnswerMetadata, RequestMetadata};
use crate::observe::CallId;
use crate::plugin::artifact::Artifact;
use crate::plugin::background::Slices;
use crate::plugin::bindings::v0_1 as contract;
use crate::plugin::state::{Attempt, Call};
use crate::plugin::under_test::{FakeHost, UnderTest};
use crate::status::Failure;

#[path = "../../guest-sdk/src/testing/component/protocol.rs"]
mod protocol;

/// Sets how the component is linked.
pub(super) const LINKING_VARIABLE: &str = "MORTISE_TEST_LINKING";

/// Runs a plugin for its own tests.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SandboxArgs {
    /// The component.
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,

    /// The version of what the tests speak.
    #[arg(long)]
    protocol: u32,

    /// As the key `linking` of a plugin.
    #[arg(long, env = LINKING_VARIABLE, default_value = "auto")]
    linking: Linking,

    /// How long a call may take.
    #[arg(long, env = "MORTISE_TEST_TIMEOUT", value_parser = timeout::parse, default_value = "30s")]
    timeout: Duration,
}

pub(super) fn run(args: SandboxArgs) -> anyhow::Result<()> {
    if args.protocol != protocol::VERSION {
        let (theirs, ours) = (args.protocol, protocol::VERSION);
        return Err(anyhow!(
            "the tests speak version {theirs} to a sandbox, and this mortise version {ours}"
        ))
        .hint("use mortise-guest and mortise of the same release");
    }
    let log = Log::start()?;
    let tests = Tests::connect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let generation = Arc::new(runtime.block_on(load(&args, tests.clone()))?);
    // Nothing is ever stored: what the guest stores goes to the tests.
    let store = Store::in_memory(Options::default()).context("cannot make a store")?;
    let description = &generation.description;
    let methods = description.methods.iter().map(|method| method.path.clone());
    tests.say(&FromSandbox::Ready(Loaded {
        name: description.name.clone(),
        version: description.version.clone(),
        methods: methods.collect(),
    }));
    loop {
        let FromTest::Call { method, request } = tests.hear() else {
            tests.give_up("an answer to nothing");
        };
        let attempt = attempt(&store, &generation, args.timeout);
        let ran = runtime.block_on(attempted(&generation, attempt, method, request.into()));
        let outcome = ran.unwrap_or_else(|failure| {
            log.stopped(&failure);
            Outcome::Stopped(failure.to_guest().into())
        });
        let log = log.take();
        tests.say(&FromSandbox::Ended { outcome, log });
    }
}

async fn load(args: &SandboxArgs, tests: Tests) -> anyhow::Result<Generation> {
    let mut config = Config::default();
    let mut plugin = Plugin::new(&args.file);
    plugin.linking = args.linking;
    config.plugins.insert("tested".parse()?, plugin);
    let plugin = PluginSettings::all(&config)?.remove(0);
    let artifact = Artifact::read(&args.file, plugin.config.max_component_bytes)?;
    let loader = Loader::for_inspection(&config)?;
    let fake_host = UnderTest::new(tests);
    Ok(loader.load_under_test(artifact, &plugin, fake_host).await?)
}

/// What the guest asks about its call, the tests answer; its time is the one thing that is the host's own.
fn attempt(store: &Store, generation: &Generation, timeout: Duration) -> Box<Attempt> {
    let call = Call {
        id: CallId::random(),
        deadline: Deadline::after(Instant::now(), Some(timeout)),
        metadata: RequestMetadata::default(),
        trace: None,
        peer: "".into(),
        principal: None,
        hops: 0,
        errand: None,
        decisions: Mutex::default(),
        upstream: Journal::default(),
    };
    Box::new(Attempt {
        call: Arc::new(call),
        number: 1,
        transaction: store.begin(&generation.name, Access::ReadWrite),
        answer: AnswerMetadata::default(),
        decisions_asked: 0,
        upstream: Usage::default(),
    })
}

/// As `dispatch.rs` runs an attempt.
async fn attempted(
    generation: &Arc<Generation>,
    attempt: Box<Attempt>,
    method: u32,
    request: Bytes,
) -> Result<Outcome, Failure> {
    let (method, deadline) = (method as usize, attempt.call.deadline);
    if method >= generation.description.methods.len() {
        let path = format!("number {method}");
        return Err(Failure::UnknownMethod { path });
    }
    // There are no other calls for a long one to make room for.
    let run = generation
        .clone()
        .run_in_sandbox(attempt, Slices::default(), method, request);
    let run = pin!(run);
    let Finished { outcome, .. } = deadline.bound(run).await??;
    if deadline.expired() {
        return Err(Failure::DeadlineExceeded);
    }
    Ok(match outcome {
        Ok((message, _)) => Outcome::Answered(message),
        Err(own) => Outcome::Failed(own.into()),
    })
}

/// The tests, at the other end of the standard streams.
#[derive(Clone)]
struct Tests(Arc<Mutex<Streams>>);

struct Streams {
    from: BufReader<Stdin>,
    to: BufWriter<Stdout>,
}

impl Tests {
    fn connect() -> Self {
        Self(Arc::new(Mutex::new(Streams {
            from: BufReader::new(io::stdin()),
            to: BufWriter::new(io::stdout()),
        })))
    }

    fn say(&self, what: &FromSandbox) {
        let said = protocol::write(&mut self.0.lock().to, what);
        said.unwrap_or_else(|error| self.lost(&error));
    }

    fn hear(&self) -> FromTest {
        let heard = protocol::read(&mut self.0.lock().from);
        heard.unwrap_or_else(|error| self.lost(&error))
    }

    /// Tests that have ended need no sandbox any more.
    fn lost(&self, error: &io::Error) -> ! {
        match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => std::process::exit(0),
            _ => self.give_up(&error.to_string()),
        }
    }
}

impl FakeHost for Tests {
    fn call(&self, function: &str, arguments: Vec<u8>) -> Vec<u8> {
        self.say(&FromSandbox::Import {
            function: function.to_owned(),
            arguments,
        });
        match self.hear() {
            FromTest::Answer(answer) => answer,
            FromTest::Call { .. } => self.give_up("a call within a call"),
        }
    }

    fn give_up(&self, why: &str) -> ! {
        eprintln!("error: the tests said what no sandbox expects: {why}");
        std::process::exit(1)
    }
}

/// What an operator would read of a call. The guest's own lines are bounded as for any call.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> anyhow::Result<Self> {
        let log = Self::default();
        let lines = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || lines.clone())
            .with_ansi(false)
            .without_time();
        let set = subscriber.try_init();
        set.map_err(|error| anyhow!("cannot set up logging: {error}"))?;
        Ok(log)
    }

    fn stopped(&self, failure: &Failure) {
        let row = failure.row();
        let line = match failure.cause() {
            Some(cause) => format!("{}: {}: {cause}\n", row.reason, row.message),
            None => format!("{}: {}\n", row.reason, row.message),
        };
        self.0.lock().extend_from_slice(line.as_bytes());
    }

    fn take(&self) -> String {
        let lines = std::mem::take(&mut *self.0.lock());
        String::from_utf8_lossy(&lines).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
