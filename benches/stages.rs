//! What each stage of a call costs by itself, on one thread and without a network: `cargo bench --bench stages`.
//!
//! `cargo bench --bench stages -- instantiate` measures those that have it in their name. What a call costs in all,
//! `end_to_end` measures.

mod support;

use std::collections::HashSet;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion};
use http::{HeaderMap, HeaderValue};
use mortise::capability::Namespace;
use mortise::capability::store::{Access, Options, Store};
use mortise::capability::upstream::{Granted, Journal, Usage};
use mortise::commit::commit;
use mortise::config::{Config, Overrides};
use mortise::deadline::{Deadline, DeadlinePolicy};
use mortise::generations::{Generation, Loader, PluginSettings};
use mortise::metadata::{AnswerMetadata, Part, RequestMetadata};
use mortise::observe::CallId;
use mortise::plugin::artifact::Artifact;
use mortise::plugin::background::Slices;
use mortise::plugin::compiled::{Code, Compiled, Form};
use mortise::plugin::instance::{Instance, Program};
use mortise::plugin::limits::SandboxLimits;
use mortise::plugin::state::{Attempt, Call, CallState, PluginContext};
use mortise::router::{Router, RoutingTable};
use mortise::status::Failure;
use prost::Message;
use tokio::runtime::Runtime;
use tokio::time;

use support::components;

#[allow(missing_docs, unreachable_pub, dead_code, clippy::all)]
mod pb {
    include!(concat!(env!("OUT_DIR"), "/bench.v1.rs"));
}

const PATH: &str = "/bench.v1.Bench/Place";
/// Of [`PATH`] in the plugin's description.
const METHOD: usize = 0;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    before_the_sandbox(&mut criterion);
    sandbox(&mut criterion);
    after_the_sandbox(&mut criterion);
    criterion.final_summary();
}

/// A host's parts with one plugin.
struct Parts {
    runtime: Runtime,
    loader: Loader,
    artifact: Artifact,
    generation: Arc<Generation>,
    store: Store,
    _folder: tempfile::TempDir,
}

impl Parts {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let component = components::build("bench");
        let config = config(folder.path(), &component);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let loader = Loader::for_serving(&config).expect("there is room");
        let settings = PluginSettings::all(&config).expect("a name");
        let artifact = Artifact::read(&component, u64::MAX).expect("it was built");
        let generation = runtime
            .block_on(loader.load(artifact.clone(), &settings[0]))
            .expect("it is a plugin");
        assert_eq!(generation.description.methods[METHOD].path, PATH);
        Self {
            runtime,
            loader,
            artifact,
            generation: Arc::new(generation),
            store: Store::in_memory(Options::default()).expect("a store"),
            _folder: folder,
        }
    }

    /// Runs `work` again and again on one thread.
    fn measure(&self, criterion: &mut Criterion, name: &str, mut work: impl AsyncFnMut()) {
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                self.runtime.block_on(async {
                    let began = Instant::now();
                    for _ in 0..times {
                        work().await;
                    }
                    began.elapsed()
                })
            });
        });
    }

    fn attempt(&self) -> Box<Attempt> {
        let call = Call {
            id: CallId::random(),
            deadline: deadline(),
            metadata: RequestMetadata::new(headers(), 128).expect("it is metadata"),
            trace: None,
            peer: "127.0.0.1:50000".into(),
            principal: None,
            hops: 0,
            errand: None,
            decisions: Default::default(),
            upstream: Journal::default(),
        };
        Box::new(Attempt {
            call: Arc::new(call),
            number: 1,
            transaction: self.store.begin(&self.generation.name, Access::ReadWrite),
            answer: AnswerMetadata::default(),
            decisions_asked: 0,
            upstream: Usage::default(),
        })
    }

    fn context(&self) -> Arc<PluginContext> {
        Arc::new(PluginContext {
            name: self.generation.name.clone(),
            config: Default::default(),
            rate_limits: self.loader.rate_limits.clone(),
            upstreams: Granted::default(),
            methods: HashSet::new(),
            sandbox: SandboxLimits {
                memory_bytes: 64 << 20,
                table_elements: 10_000,
            },
            log: self.loader.log,
            metadata: self.loader.metadata,
            under_test: None,
        })
    }

    /// One call of a sandbox that exists.
    async fn call(&self, sandbox: &mut Instance, request: &Bytes) {
        sandbox.begin(self.attempt(), Slices::default());
        let answer = sandbox.handle(METHOD as u32, request.clone()).await;
        answer.expect("no trap").expect("an answer");
        drop(sandbox.finish());
    }

    fn program(&self, form: &Form) -> Program {
        let engine = &self.loader.engine;
        let code = Code::compile(engine.wasm(), &self.artifact, form).expect("it compiles");
        let compiled = Compiled::load(engine.wasm(), &code).expect("it is whole");
        Program::link(engine, &compiled).expect("it is a plugin")
    }

    fn flat(&self) -> Form {
        Form::flat(self.loader.engine.wasm(), &self.artifact).expect("it fits the flat path")
    }
}

fn config(folder: &Path, component: &Path) -> Config {
    let file = folder.join("mortise.toml");
    let data = folder.join("data");
    let text = format!(
        "[server]\ndata = {data:?}\n[cache]\nenabled = false\n[plugins.bench]\nfile = {component:?}\n"
    );
    std::fs::write(&file, text).expect("the folder is ours");
    Config::load(Some(&file), &Overrides::default()).expect("it is valid")
}

/// What a client sends with a call.
fn headers() -> HeaderMap {
    let headers = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "10S"),
        ("user-agent", "mortise-bench"),
        ("x-request-id", "0123456789abcdef"),
    ];
    let headers = headers.map(|(name, value)| {
        (
            http::HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    headers.into_iter().collect()
}

fn deadline() -> Deadline {
    Deadline::from_headers(&headers(), time::Instant::now(), &DeadlinePolicy::default()).expect("a timeout")
}

fn request() -> Bytes {
    let item = |sku: &str| pb::Item {
        sku: sku.into(),
        quantity: 2,
        price: 1450,
    };
    let order = pb::Order {
        customer_id: "customer-1".into(),
        items: vec![item("coffee"), item("filter"), item("kettle")],
    };
    order.encode_to_vec().into()
}

fn before_the_sandbox(criterion: &mut Criterion) {
    let parts = Parts::new();
    let router = Router::default();
    router.swap(RoutingTable::new(vec![parts.generation.clone()]));
    criterion.bench_function("route", |bencher| {
        bencher.iter(|| router.resolve(black_box(PATH)).expect("a route"));
    });
    let headers = headers();
    criterion.bench_function("deadline: read", |bencher| {
        let policy = DeadlinePolicy::default();
        bencher.iter(|| Deadline::from_headers(black_box(&headers), time::Instant::now(), &policy));
    });
    parts.measure(criterion, "deadline: watched", async || {
        let deadline = deadline();
        deadline
            .bound(std::future::ready(()))
            .await
            .expect("there is time");
    });
    criterion.bench_function("metadata: accept", |bencher| {
        bencher.iter_batched(
            || headers.clone(),
            |headers| RequestMetadata::new(headers, 128),
            BatchSize::SmallInput,
        );
    });
    let metadata = RequestMetadata::new(headers.clone(), 128).expect("it is metadata");
    criterion.bench_function("metadata: read one", |bencher| {
        bencher.iter(|| metadata.get_all(black_box("x-request-id")));
    });
}

fn sandbox(criterion: &mut Criterion) {
    let parts = Parts::new();
    let (context, request) = (parts.context(), request());
    let state = |attempt| CallState::new(context.clone(), attempt, Slices::default());
    parts.measure(criterion, "attempt: made", async || {
        drop(black_box(parts.attempt()))
    });
    for (name, form) in [("flat", parts.flat()), ("component", Form::Component)] {
        let program = parts.program(&form);
        parts.measure(criterion, &format!("instantiate: {name}"), async || {
            let sandbox = program.instantiate(state(None)).await;
            drop(sandbox.expect("there is room"));
        });
        let mut sandbox = parts
            .runtime
            .block_on(program.instantiate(state(None)))
            .expect("there is room");
        parts.measure(
            criterion,
            &format!("call: {name}, with its attempt"),
            async || {
                parts.call(&mut sandbox, &request).await;
            },
        );
        if program.renews() {
            parts.measure(
                criterion,
                &format!("call and renew: {name}, with its attempt"),
                async || {
                    parts.call(&mut sandbox, &request).await;
                    assert!(sandbox.renew(), "it has not grown");
                },
            );
        }
    }
    parts.measure(criterion, "run: flat, renewed, with its attempt", async || {
        let ran = parts
            .generation
            .run(parts.attempt(), METHOD, request.clone())
            .await;
        ran.expect("it ran").outcome.expect("an answer");
    });
}

fn after_the_sandbox(criterion: &mut Criterion) {
    let store = Store::in_memory(Options::default()).expect("a store");
    let (plugin, deadline) = (Namespace::new("bench").expect("a name"), deadline());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    for (name, writes) in [("commit: nothing", false), ("commit: one key, in memory", true)] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut transaction = store.begin(&plugin, Access::ReadWrite);
                if writes {
                    let value = Bytes::from_static(b"value");
                    transaction.put(b"key", value).expect("it may write");
                }
                runtime
                    .block_on(commit(&store, transaction, &deadline))
                    .expect("committed");
            });
        });
    }
    let limits = mortise::metadata::MetadataLimits {
        max_bytes: 8 << 10,
        max_entries: 128,
    };
    criterion.bench_function("metadata: answer two", |bencher| {
        bencher.iter(|| {
            let mut answer = AnswerMetadata::default();
            let id = answer.add(Part::Initial, "x-request-id", b"0123456789abcdef", &limits);
            let time = answer.add(Part::Trailing, "processing-time-ms", b"0", &limits);
            id.and(time).expect("there is room");
            answer
        });
    });
    criterion.bench_function("status: of the host", |bencher| {
        bencher.iter(|| black_box(Failure::DeadlineExceeded).to_status());
    });
    criterion.bench_function("status: of a handler", |bencher| {
        bencher.iter(|| black_box(Failure::DeadlineExceeded).to_guest().within(8 << 10));
    });
}
