//! Both ways to run a plugin against each other: whatever a guest asks and answers, and wherever it makes room, a
//! component and its program linked directly understand the same, and stop it for the same reasons; and a sandbox
//! that was renewed is as good as a new one.
//!
//! The guest is a puppet (`puppet.rs`): what its imports are called with, where its `cabi_realloc` makes room, and
//! what its handler returns, all stands in the request.

mod answers;
#[cfg(test)]
mod puppet;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime::Trap;

use crate::capability::Namespace;
use crate::capability::limits::Limits;
use crate::capability::upstream::Granted;
use crate::fuzzing::{Input, Target, block_on};
use crate::metadata::MetadataLimits;
use crate::plugin::artifact::Artifact;
use crate::plugin::background::Slices;
use crate::plugin::bindings::v0_1::Status;
use crate::plugin::compiled::{Code, Compiled, Form};
use crate::plugin::engine::{Engine, EngineOptions};
use crate::plugin::instance::{Program, Trapped};
use crate::plugin::limits::SandboxLimits;
use crate::plugin::state::{CallState, PluginContext};
use crate::plugin::stdio::LogLimits;
use crate::plugin::under_test::{FakeHost, UnderTest};

pub(crate) const TARGET: Target = Target::new("linking", run, seeds);

const PUPPET: &[u8] = include_bytes!("puppet.wasm");

/// Linear memory that a sandbox may have; the puppet has a quarter of it.
const MEMORY_BYTES: usize = 1 << 20;

/// Of the request. What follows are places in it.
const MAX_REQUEST_BYTES: usize = 16 << 10;
/// Where room is made, four times, if it is not 0. The request itself has its place.
const ROOMS: [usize; 4] = [0, 4, 8, 12];
/// Where the handler's result stands, if it is not 0.
const RESULT: usize = 16;
/// How many imports are called.
const STEPS: usize = 20;
const MAX_STEPS: usize = 3;
/// Whether an import is called after the answer, and while room is made: neither may be.
const LEAVES_AFTER: usize = 21;
const LEAVES_IN_ROOM: usize = 22;
/// Of each step its import, and eight bytes further its arguments.
const FIRST_STEP: usize = 24;
const STEP_BYTES: usize = 64;
/// What memory has from address 0 when the first import is called.
const MEMORY: usize = FIRST_STEP + MAX_STEPS * STEP_BYTES;

/// Interface, function, and its core parameters: `a` the address of a text or key, `n` its length, `p` the
/// address of a list of pairs of both, `c` a case or a small number, `l` a long one, `r` where the answer goes.
/// `R` stands for no parameter and an answer that is a result.
const IMPORTS: [(&str, &str, &str); 28] = [
    ("call", "metadata", "anr"),
    ("call", "all-metadata", "r"),
    ("call", "deadline", "r"),
    ("call", "remaining", "r"),
    ("call", "cancelled", "R"),
    ("call", "peer", "r"),
    ("call", "principal", "r"),
    ("call", "id", "r"),
    ("call", "attempt", "R"),
    ("call", "trace-context", "r"),
    ("call", "add-initial-metadata", "ananr"),
    ("call", "add-trailing-metadata", "ananr"),
    ("store", "get", "anr"),
    ("store", "get-many", "pcr"),
    ("store", "insert", "ananr"),
    ("store", "put", "ananr"),
    ("store", "delete", "anr"),
    ("store", "put-if", "ananlr"),
    ("store", "delete-if", "anlr"),
    ("store", "scan", "ancancanccr"),
    ("events", "publish", "anananr"),
    ("timers", "schedule", "lananr"),
    ("timers", "cancel", "anr"),
    ("limits", "take", "anccclr"),
    ("log", "max-level", "r"),
    ("log", "write", "cananpc"),
    ("config", "get", "anr"),
    ("upstream", "call", "anananpcclr"),
];

/// What seeds have in memory: text from 0, and pairs of a part of it and its length from 1024. Answers go to
/// 2048.
const TEXT_AT: u32 = 64;
const TEXT_BYTES: u32 = 4;
const PAIRS_AT: u32 = 1024;
const ANSWER_AT: u32 = 2048;
/// Where memory ends.
const END: u32 = MEMORY_BYTES as u32 / 4;

struct Linked {
    component: Program,
    flat: Program,
}

static LINKED: LazyLock<Linked> = LazyLock::new(|| {
    let engine = Engine::new(&EngineOptions {
        max_sandboxes: 8,
        max_memory_bytes: MEMORY_BYTES,
        max_table_elements: 10_000,
        max_stack_bytes: 512 << 10,
        background_threads: 0,
        baseline: false,
    });
    let engine = engine.expect("there is room for a few sandboxes");
    let artifact = Artifact::from_bytes(Path::new("puppet.wasm"), PUPPET.to_vec()).expect("a plugin");
    let program = |form: &Form| {
        let code = Code::compile(engine.wasm(), &artifact, form).expect("it compiles");
        let compiled = Compiled::load(engine.wasm(), &code).expect("it is whole");
        Program::link(&engine, &compiled).expect("it imports the contract")
    };
    Linked {
        component: program(&Form::Component),
        flat: program(&Form::flat(engine.wasm(), &artifact).expect("it can be linked directly")),
    }
});

/// A function and its encoded arguments.
type Asked = (String, Vec<u8>);

/// What came of a call, as far as anybody can tell.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// The answer or the status as text, or how the guest was stopped.
    ended: Result<Result<Vec<u8>, String>, Stopped>,
    /// Imports, as they were understood.
    asked: Vec<Asked>,
}

/// How a guest was stopped, as far as the host tells kinds apart (`TrapKind`).
#[derive(Debug, PartialEq)]
enum Stopped {
    /// By itself.
    Trapped(Trap),
    /// For breaking a rule of the canonical ABI, for which the two ways have words of their own.
    ByHost,
}

impl Stopped {
    fn of(trapped: &Trapped) -> Self {
        match trapped.error.downcast_ref() {
            Some(trap @ (Trap::UnreachableCodeReached | Trap::StackOverflow | Trap::MemoryOutOfBounds)) => {
                Self::Trapped(*trap)
            }
            _ => Self::ByHost,
        }
    }
}

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let answers = input.bytes().to_vec();
    let mut request = input.rest().to_vec();
    request.truncate(MAX_REQUEST_BYTES);
    request.resize(request.len().max(MEMORY), 0);
    let request = Bytes::from(request);
    let (component, _) = block_on(outcomes(&LINKED.component, request.clone(), &answers));
    let (flat, renewed) = block_on(outcomes(&LINKED.flat, request, &answers));
    if let Some(renewed) = renewed {
        assert_eq!(renewed, flat, "in a renewed sandbox, and in a new one");
    }
    if let (Ok(Ok(flat)), Ok(Ok(component))) = (&flat.ended, &component.ended) {
        // Shorter to read than two answers.
        let differs = flat
            .iter()
            .zip(component)
            .position(|(flat, component)| flat != component);
        if let Some(at) = differs {
            let shown = |answer: &[u8]| answer[at..answer.len().min(at + 16)].to_vec();
            assert_eq!(
                shown(flat),
                shown(component),
                "answers from byte {at}: directly, and as a component"
            );
        }
    }
    assert_eq!(flat, component, "linked directly, and as a component");
}

/// Of a call in a new sandbox, and of the same call in this sandbox renewed, if it ended and can be.
async fn outcomes(program: &Program, request: Bytes, answers: &[u8]) -> (Outcome, Option<Outcome>) {
    let asked = Arc::default();
    let scripted = Scripted {
        answers: answers.to_vec(),
        asked: Arc::clone(&asked),
    };
    let state = CallState::new(Arc::new(context(scripted)), None, Slices::default());
    let outcome = |ended: Result<Result<Vec<u8>, Status>, Trapped>| Outcome {
        ended: ended
            .map(|answered| answered.map_err(|status| format!("{status:?}")))
            .map_err(|trapped| Stopped::of(&trapped)),
        asked: std::mem::take(&mut *asked.lock()),
    };
    let mut instance = match program.instantiate(state).await {
        Ok(instance) => instance,
        Err(trapped) => return (outcome(Err(trapped)), None),
    };
    let first = outcome(instance.handle(0, request.clone()).await);
    if first.ended.is_err() || !program.renews() {
        return (first, None);
    }
    assert!(instance.renew(), "its memory has not grown");
    (first, Some(outcome(instance.handle(0, request).await)))
}

fn context(scripted: Scripted) -> PluginContext {
    PluginContext {
        name: Namespace::new("puppet").expect("a name"),
        config: Default::default(),
        rate_limits: Arc::new(Limits::new(1)),
        upstreams: Granted::default(),
        methods: Default::default(),
        sandbox: SandboxLimits {
            memory_bytes: MEMORY_BYTES,
            table_elements: 10_000,
        },
        log: LogLimits {
            line_bytes: 4096,
            lines_per_call: 100,
        },
        metadata: MetadataLimits {
            max_bytes: 8192,
            max_entries: 100,
        },
        under_test: Some(UnderTest::new(scripted)),
    }
}

/// Answers from the input, and remembers what was asked.
struct Scripted {
    answers: Vec<u8>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeHost for Scripted {
    fn call(&self, function: &str, arguments: Vec<u8>) -> Vec<u8> {
        let mut asked = self.asked.lock();
        // Each answer begins elsewhere in the script.
        let script = &self.answers[(asked.len() * 7).min(self.answers.len())..];
        asked.push((function.to_owned(), arguments));
        answers::answer(function, Input::new(script))
    }

    fn give_up(&self, why: &str) -> ! {
        panic!("{why}")
    }
}

/// A request of the puppet's: its steps, and what its memory has.
struct Script {
    request: Vec<u8>,
    steps: usize,
}

impl Script {
    fn new(memory: &[u8]) -> Self {
        let mut request = vec![0; MEMORY];
        request.extend_from_slice(memory);
        Self { request, steps: 0 }
    }

    fn set(mut self, at: usize, value: u32) -> Self {
        self.request[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// Calls an import with arguments that are good.
    fn step(mut self, import: usize) -> Self {
        let (_, _, params) = IMPORTS[import];
        let at = FIRST_STEP + self.steps * STEP_BYTES;
        self.request[at] = import as u8;
        let mut arguments = Vec::new();
        for kind in params.bytes() {
            let argument = match kind {
                b'a' => TEXT_AT,
                b'n' => TEXT_BYTES,
                b'p' => PAIRS_AT,
                b'c' => 1,
                b'r' => ANSWER_AT,
                b'l' => {
                    arguments.extend_from_slice(&7_u64.to_le_bytes());
                    continue;
                }
                _ => continue,
            };
            arguments.extend_from_slice(&argument.to_le_bytes());
        }
        self.request[at + 8..at + 8 + arguments.len()].copy_from_slice(&arguments);
        self.steps += 1;
        self.request[STEPS] = self.steps as u8;
        self
    }

    fn seed(self) -> Vec<u8> {
        let answers: Vec<u8> = (0..64_u32).map(|byte| (byte * 37 % 251) as u8).collect();
        let mut seed = vec![answers.len() as u8];
        seed.extend(answers);
        seed.extend(self.request);
        seed
    }
}

/// Text over and over, and behind it the same pair of an address and a length.
fn memory(text: &[u8], pair: [u32; 2]) -> Vec<u8> {
    let mut memory: Vec<u8> = text.iter().copied().cycle().take(PAIRS_AT as usize).collect();
    for _ in 0..8 {
        memory.extend(pair.map(u32::to_le_bytes).concat());
    }
    memory
}

fn good_memory() -> Vec<u8> {
    memory(b"tea and 0123456789", [TEXT_AT, TEXT_BYTES])
}

/// A status of the handler's own at 256, with a detail, as it stands there but for one number.
fn status(at: usize, changed: u32) -> Vec<u8> {
    const MESSAGE: u32 = 320;
    let mut memory = vec![0; 512];
    let mut set = |at: usize, value: u32| memory[at..at + 4].copy_from_slice(&value.to_le_bytes());
    // The case, the code, the message, and the details, of which there is one.
    for (number, value) in [1, 3, MESSAGE, 5, 288, 1].into_iter().enumerate() {
        set(256 + 4 * number, value);
    }
    // Its type and its value.
    for (number, value) in [MESSAGE, 3, MESSAGE, 8].into_iter().enumerate() {
        set(288 + 4 * number, value);
    }
    set(at, changed);
    memory[MESSAGE as usize..][..8].copy_from_slice(b"te\xc3\xa4a\xffab");
    memory
}

fn seeds() -> Vec<Vec<u8>> {
    let good = good_memory();
    let memories = [
        good.clone(),
        memory(b"\xfft\xc3e\xc3\xa4a", [TEXT_AT, TEXT_BYTES]),
        memory(b"tea", [END - 2, 4]),
        memory(b"tea", [TEXT_AT, u32::MAX]),
        memory(b"tea", [u32::MAX, 0]),
    ];
    let imports = 0..IMPORTS.len();
    let mut seeds: Vec<_> = memories
        .iter()
        .flat_map(|memory| {
            imports
                .clone()
                .map(|import| Script::new(memory).step(import).seed())
        })
        .collect();
    // As it is, with cases and codes that there are not, and with more than there is.
    for (at, changed) in [
        (256, 1),
        (256, 0),
        (256, 2),
        (260, 16),
        (264, 1),
        (268, 6),
        (268, u32::MAX),
        (272, 290),
        (276, END),
        (292, 6),
        (300, END),
    ] {
        seeds.push(Script::new(&status(at, changed)).set(RESULT, 256).seed());
    }
    for at in [1, 258, END - 8, END, u32::MAX - 3] {
        seeds.push(Script::new(&status(256, 1)).set(RESULT, at).seed());
    }
    let script = || Script::new(&good);
    let position = |name: &str| IMPORTS.iter().position(|import| import.1 == name);
    let [get, get_many, scan] = ["get", "get-many", "scan"].map(|name| position(name).expect("it is there"));
    // Room at addresses that are not aligned, or not there.
    for at in [1, 2, 8, 2048, END - 4, END, u32::MAX] {
        let roomy = ROOMS.iter().fold(script(), |script, room| script.set(*room, at));
        seeds.push(roomy.step(get).step(get_many).step(scan).seed());
    }
    for leaves in [LEAVES_AFTER, LEAVES_IN_ROOM] {
        let mut script = script().step(get);
        script.request[leaves] = 1;
        seeds.push(script.seed());
    }
    seeds.push(Vec::new());
    seeds
}
