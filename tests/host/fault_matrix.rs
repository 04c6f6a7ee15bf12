//! Every way to misbehave, each with its defined end.
//!
//! A fault of a call ends in one status, with one reason if it is the host's own; a fault of loading keeps
//! the plugin from being served. Either way the calls beside it go on, the sandbox is not used again, and
//! nothing of it stays behind.
//!
//! The plugin of faults misbehaves as compiled code can. What no compiler makes (lying descriptions, values
//! that the contract's types rule out, traps between the answer and its end) is crafted by hand.

use std::path::PathBuf;

use bytes::Bytes;
use prost::Message;
use tempfile::TempDir;
use tonic::Code;

use crate::in_both_modes;
use crate::support::crafted::{Crafted, EMPTY, descriptors};
use crate::support::pb::faults::misbehave_request::Way;
use crate::support::pb::faults::*;
use crate::support::raw::{RawClient, framed};
use crate::support::{Host, Isolation, Plugin, Setup};

in_both_modes!(faults_of_calls, faults_of_calls_leave_nothing_behind);

/// For faults that last until their deadline.
const SHORT: &str = "150m";

/// A fault of a call, and how it must end.
struct Fault {
    /// What goes wrong.
    what: &'static str,
    path: String,
    /// The request, framed.
    body: Bytes,
    /// `grpc-timeout`.
    timeout: &'static str,
    ends: Ends,
}

/// How a fault of a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// In a status of the host's own, and its sandbox with it.
    Failed(Code, &'static str),
    /// In the guest's own status, after the host refused it what it wanted.
    Refused(Code),
    /// In an answer: the fault is harmless.
    Answered,
}

const FAILED: Ends = Ends::Failed(Code::Unknown, "PLUGIN_FAILED");
const LATE: Ends = Ends::Failed(Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
const OUT_OF_MEMORY: Ends = Ends::Failed(Code::ResourceExhausted, "PLUGIN_OUT_OF_MEMORY");
const TOO_LARGE: Ends = Ends::Failed(Code::ResourceExhausted, "ANSWER_TOO_LARGE");
const OVER_A_LIMIT: Ends = Ends::Refused(Code::ResourceExhausted);
/// Arguments that are never valid are the handler's mistake, so the SDK makes them INTERNAL.
const INVALID: Ends = Ends::Refused(Code::Internal);

/// What compiled code can do.
fn compiled_faults() -> Vec<Fault> {
    fn call(what: &'static str, ends: Ends, method: &str, message: &impl Message) -> Fault {
        Fault {
            what,
            path: format!("/faults.v1.Faults/{method}"),
            body: framed(message),
            timeout: if ends == LATE { SHORT } else { "60S" },
            ends,
        }
    }
    fn way(what: &'static str, ends: Ends, way: Way) -> Fault {
        let request = MisbehaveRequest { way: way.into() };
        call(what, ends, "Misbehave", &request)
    }
    let entries = |entries: &[(&str, &str)]| -> Vec<Entry> {
        let entry = |(key, value): &(&str, &str)| Entry {
            key: (*key).into(),
            value: (*value).into(),
        };
        entries.iter().map(entry).collect()
    };
    let metadata = |initial: &[(&str, &str)]| FailRequest {
        code: 1,
        initial: entries(initial),
        ..FailRequest::default()
    };
    let details = FailRequest {
        code: 5,
        message: "x".repeat(100_000),
        reasons: vec!["R".repeat(1 << 20); 8],
        ..FailRequest::default()
    };
    vec![
        call("a loop", LATE, "Loop", &LoopRequest {}),
        way("a loop many calls deep", LATE, Way::LoopInCalls),
        way("sleep past the deadline", LATE, Way::Sleep),
        way("a flood of cheap imports", LATE, Way::FloodImports),
        call(
            "memory growth",
            OUT_OF_MEMORY,
            "EatMemory",
            &EatMemoryRequest { abort: true },
        ),
        call("deep recursion", FAILED, "Recurse", &RecurseRequest {}),
        call("a panic", FAILED, "Panic", &PanicRequest::default()),
        way("a panic while panicking", FAILED, Way::PanicTwice),
        call("an unreachable instruction", FAILED, "Trap", &TrapRequest {}),
        way("abort", FAILED, Way::Abort),
        call("exit 0", FAILED, "Exit", &ExitRequest { code: 0 }),
        call("exit 1", FAILED, "Exit", &ExitRequest { code: 1 }),
        call(
            "an answer over the limit",
            TOO_LARGE,
            "HugeAnswer",
            &HugeAnswerRequest { bytes: 11 << 20 },
        ),
        call(
            "a panic after a write",
            FAILED,
            "WriteThen",
            &WriteThenRequest {
                key: "kept?".into(),
                ending: write_then_request::Ending::Panic.into(),
                ..WriteThenRequest::default()
            },
        ),
        call(
            "a status with huge details",
            Ends::Refused(Code::NotFound),
            "Fail",
            &details,
        ),
        call(
            "reserved metadata",
            INVALID,
            "Fail",
            &metadata(&[("grpc-status", "0")]),
        ),
        call(
            "metadata with a line break",
            INVALID,
            "Fail",
            &metadata(&[("a", "b\r\nc: d")]),
        ),
        way("a flood of metadata", OVER_A_LIMIT, Way::FloodMetadata),
        way("a flood of rate-limit buckets", OVER_A_LIMIT, Way::FloodBuckets),
        way("a flood of events", OVER_A_LIMIT, Way::FloodEvents),
        way("a flood of reads", OVER_A_LIMIT, Way::FloodReads),
        way("a flood of scans", OVER_A_LIMIT, Way::FloodScans),
        way("a flood of writes", OVER_A_LIMIT, Way::FloodWrites),
        way("a flood of written bytes", OVER_A_LIMIT, Way::FloodBytes),
        way("a huge key", OVER_A_LIMIT, Way::HugeKey),
        way("a huge value", OVER_A_LIMIT, Way::HugeValue),
        way("a huge topic", INVALID, Way::HugeTopic),
        way("a huge piece of metadata", OVER_A_LIMIT, Way::HugeMetadata),
        way("a huge line of the log", Ends::Answered, Way::HugeLine),
        way("a flood of random bytes", LATE, Way::FloodRandom),
        call(
            "a flood of log lines",
            Ends::Answered,
            "Log",
            &LogRequest {
                lines: 5000,
                text: "wet".into(),
            },
        ),
        call(
            "a flood of output",
            Ends::Answered,
            "Print",
            &PrintRequest {
                lines: 5000,
                text: "wet".into(),
                unfinished: true,
            },
        ),
    ]
}

/// Bodies of methods that no compiler makes: what, how it ends, the body.
///
/// The canonical ABI lays a `result<list<u8>, status>` out as its case at 0, and at 4 either the list's
/// address and length or the status: code at 4, message at 8, details at 16.
///
/// A second answer does not exist in this contract: `handle` returns once. What comes closest is a guest
/// that misbehaves after its answer, when the host lets it free what it returned (`cabi_post_`).
const CRAFTED: &[(&str, Ends, &str)] = &[
    (
        "an answer that is no protobuf",
        Ends::Answered,
        "(i32.store (i32.const 0) (i32.const 0))
         (i32.store (i32.const 4) (i32.const 512)) (i32.store (i32.const 8) (i32.const 4)) (i32.const 0)",
    ),
    (
        "an answer outside the memory",
        FAILED,
        "(i32.store (i32.const 0) (i32.const 0))
         (i32.store (i32.const 4) (i32.const 0x7fff0000)) (i32.store (i32.const 8) (i32.const 4096))
         (i32.const 0)",
    ),
    (
        "an answer longer than the memory",
        FAILED,
        "(i32.store (i32.const 0) (i32.const 0))
         (i32.store (i32.const 4) (i32.const 0)) (i32.store (i32.const 8) (i32.const -1)) (i32.const 0)",
    ),
    ("a result outside the memory", FAILED, "(i32.const -16)"),
    ("a result out of line", FAILED, "(i32.const 1)"),
    (
        "a result that is neither",
        FAILED,
        "(i32.store (i32.const 0) (i32.const 7)) (i32.const 0)",
    ),
    (
        "a code that is none",
        FAILED,
        "(i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 200))
         (i64.store (i32.const 8) (i64.const 0)) (i64.store (i32.const 16) (i64.const 0)) (i32.const 0)",
    ),
    (
        "a status message that is not UTF-8",
        FAILED,
        "(i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 0))
         (i32.store (i32.const 8) (i32.const 512)) (i32.store (i32.const 12) (i32.const 4))
         (i64.store (i32.const 16) (i64.const 0)) (i32.const 0)",
    ),
    // 10,000 details, all of them with one value of 128 KiB: 1.3 GB if the host copied them.
    (
        "details that overlap",
        FAILED,
        "(local $at i32)
         (local.set $at (i32.const 65536))
         (loop $more
           (i32.store (local.get $at) (i32.const 0)) (i32.store offset=4 (local.get $at) (i32.const 0))
           (i32.store offset=8 (local.get $at) (i32.const 0))
           (i32.store offset=12 (local.get $at) (i32.const 131072))
           (local.set $at (i32.add (local.get $at) (i32.const 16)))
           (br_if $more (i32.lt_u (local.get $at) (i32.const 225536))))
         (i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 0))
         (i64.store (i32.const 8) (i64.const 0))
         (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (i32.const 10000))
         (i32.const 0)",
    ),
    // The same with the keys of one import call.
    (
        "keys that overlap",
        FAILED,
        "(local $at i32)
         (local.set $at (i32.const 65536))
         (loop $more
           (i32.store (local.get $at) (i32.const 0))
           (i32.store offset=4 (local.get $at) (i32.const 131072))
           (local.set $at (i32.add (local.get $at) (i32.const 8)))
           (br_if $more (i32.lt_u (local.get $at) (i32.const 145536))))
         (call $get_many (i32.const 65536) (i32.const 10000) (i32.const 64))
         (unreachable)",
    ),
    (
        "metadata whose key is not UTF-8",
        FAILED,
        "(call $add_trailing (i32.const 512) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 64))
         (unreachable)",
    ),
    (
        "metadata in upper case, refused",
        Ends::Answered,
        "(call $must_be_refused (i32.const 520) (i32.const 5))",
    ),
    (
        "reserved metadata, refused",
        Ends::Answered,
        "(call $must_be_refused (i32.const 528) (i32.const 11))",
    ),
    (
        "a topic that is not UTF-8",
        FAILED,
        "(call $publish (i32.const 512) (i32.const 4) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0) (i32.const 64))
         (unreachable)",
    ),
    (
        "a line of the log that is not UTF-8",
        FAILED,
        "(call $log (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 512) (i32.const 4)
           (i32.const 0) (i32.const 0))
         (unreachable)",
    ),
    (
        "a level of the log that is none",
        FAILED,
        "(call $log (i32.const 99) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0))
         (unreachable)",
    ),
    // Ends when an element is refused: the table would hold twice its limit.
    (
        "growth of a table",
        FAILED,
        "(local $grown i32)
         (loop $more
           (if (i32.eq (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable))
           (local.set $grown (i32.add (local.get $grown) (i32.const 1000)))
           (br_if $more (i32.lt_u (local.get $grown) (i32.const 40000))))
         (i32.const 0)",
    ),
    (
        "growth of memory at once",
        OUT_OF_MEMORY,
        "(if (i32.eq (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable)) (i32.const 0)",
    ),
    (
        "a trap after the answer",
        FAILED,
        "(i64.store (i32.const 1024) (i64.const 0)) (i64.store (i32.const 1032) (i64.const 0))
         (i32.const 1024)",
    ),
    (
        "a loop after the answer",
        LATE,
        "(i64.store (i32.const 1040) (i64.const 0)) (i64.store (i32.const 1048) (i64.const 0))
         (i32.const 1040)",
    ),
];

/// What goes wrong when the host asks for room for a request of so many bytes.
const ALLOCATIONS: &[(&str, Ends, usize)] = &[
    ("a trap in allocation", FAILED, 1),
    ("room outside the memory", FAILED, 2),
    ("a loop in allocation", LATE, 3),
];

/// What goes wrong when the sandbox of a call starts, though it went well when the plugin was loaded.
const STARTS: &[(&str, Ends, &str, &str)] = &[
    ("a trap in start-up", FAILED, "StartTraps", "unreachable"),
    (
        "a loop in start-up",
        LATE,
        "StartLoops",
        "(loop $again (br $again))",
    ),
    (
        "memory growth in start-up",
        OUT_OF_MEMORY,
        "StartGrows",
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
    ),
];

const CRAFTED_SERVICE: &str = "crafted.v1.Crafted";

/// Answers with one byte: how many calls of this method the sandbox has served.
const COUNT: &str = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.store (i32.const 0) (i32.const 0)) (i32.store8 (i32.const 768) (global.get $calls))
    (i32.store (i32.const 4) (i32.const 768)) (i32.store (i32.const 8) (i32.const 1)) (i32.const 0)";

/// All crafted faults of calls in one component, with the methods `Count` and `Fine`.
fn crafted() -> Crafted {
    let names: Vec<_> = (0..CRAFTED.len()).map(|index| format!("Fault{index}")).collect();
    let mut methods = vec![("Count", COUNT), ("Fine", EMPTY)];
    methods.extend(
        names
            .iter()
            .zip(CRAFTED)
            .map(|(name, (_, _, body))| (name.as_str(), *body)),
    );
    let mut crafted = Crafted::serving(CRAFTED_SERVICE, &methods);
    crafted.imports = r#"
        (import "mortise:plugin/store@0.1.0" "get-many" (func $get_many (param i32 i32 i32)))
        (import "mortise:plugin/events@0.1.0" "publish"
          (func $publish (param i32 i32 i32 i32 i32 i32 i32)))
        (import "mortise:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32 i32 i32)))
        (import "mortise:plugin/call@0.1.0" "add-trailing-metadata"
          (func $add_trailing (param i32 i32 i32 i32 i32)))"#
        .to_owned();
    crafted.fields = r#"
        (table $table 0 funcref)
        (global $calls (mut i32) (i32.const 0))
        (data (i32.const 512) "\ff\ff\ff\ff")
        (data (i32.const 520) "Upper")
        (data (i32.const 528) "grpc-status")
        (func $must_be_refused (param $key i32) (param $length i32) (result i32)
          (call $add_trailing (local.get $key) (local.get $length) (i32.const 0) (i32.const 0) (i32.const 64))
          (if (i32.eqz (i32.load8_u (i32.const 64))) (then unreachable))
          (i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 8) (i32.const 0)) (i32.const 0))
        (func (export "cabi_post_mortise:plugin/handler@0.1.0#handle") (param $result i32)
          (if (i32.eq (local.get $result) (i32.const 1024)) (then unreachable))
          (if (i32.eq (local.get $result) (i32.const 1040)) (then (loop $again (br $again)))))"#
        .to_owned();
    crafted.realloc = "(if (i32.eq (local.get $size) (i32.const 1)) (then unreachable))
        (if (i32.eq (local.get $size) (i32.const 2)) (then (return (i32.const -16))))
        (if (i32.eq (local.get $size) (i32.const 3)) (then (loop $again (br $again))))
        (i32.const 2048)";
    crafted
}

/// A component that starts well only where there is no call.
fn bad_start(name: &str, start: &str) -> Crafted {
    let mut crafted = Crafted::named(name);
    crafted.imports =
        r#"(import "mortise:plugin/call@0.1.0" "attempt" (func $attempt (result i32)))"#.to_owned();
    crafted.fields = format!("(func $start (if (call $attempt) (then {start}))) (start $start)");
    crafted
}

fn crafted_faults() -> Vec<Fault> {
    let fault = |what, ends, path, length: usize| Fault {
        what,
        path,
        body: [&[0, 0, 0, 0, length as u8][..], &vec![b'x'; length]]
            .concat()
            .into(),
        timeout: if ends == LATE { SHORT } else { "60S" },
        ends,
    };
    let bodies = CRAFTED.iter().enumerate();
    let bodies = bodies
        .map(|(index, (what, ends, _))| fault(*what, *ends, format!("/{CRAFTED_SERVICE}/Fault{index}"), 0));
    let allocations = ALLOCATIONS
        .iter()
        .map(|(what, ends, length)| fault(*what, *ends, format!("/{CRAFTED_SERVICE}/Fine"), *length));
    let starts = STARTS
        .iter()
        .map(|(what, ends, name, _)| fault(*what, *ends, format!("/crafted.v1.{name}/Call"), 0));
    bodies.chain(allocations).chain(starts).collect()
}

/// A host with every plugin of the table, and a neighbour that nobody wishes ill.
async fn host(isolation: Isolation, folder: &TempDir, sections: &str) -> Host {
    let plugin = |name: &str, service: &str, crafted: Crafted| {
        let file = folder.path().join(format!("{name}.wasm"));
        crafted.write_to(&file);
        Plugin::crafted(name, service, &file, isolation)
    };
    let mut setup = Setup::of(Plugin::faults(isolation))
        .and(plugin("crafted", CRAFTED_SERVICE, crafted()))
        .and(plugin(
            "neighbour",
            "crafted.v1.Neighbour",
            Crafted::named("Neighbour"),
        ));
    for (_, _, name, start) in STARTS {
        let service = format!("crafted.v1.{name}");
        setup = setup.and(plugin(&name.to_lowercase(), &service, bad_start(name, start)));
    }
    // What the floods of log lines leave is another test's.
    setup
        .with(sections)
        .with("[log]\nmax_guest_lines_per_call = 2")
        .start()
        .await
}

/// Calls the neighbour, one call after another, until dropped.
struct Beside(tokio::task::JoinHandle<()>);

impl Beside {
    fn start(client: RawClient) -> Self {
        Self(tokio::spawn(async move {
            loop {
                let answer = client.call("/crafted.v1.Neighbour/Call", &[], empty()).await;
                assert_eq!(answer.code(), Code::Ok, "{answer:?}");
            }
        }))
    }

    fn fared_well(self) {
        assert!(!self.0.is_finished(), "a call of the neighbour failed");
        self.0.abort();
    }
}

fn empty() -> Bytes {
    Bytes::from_static(&[0; 5])
}

/// How often the sandbox that serves next has counted, with this call; none if the fault's plugin cannot.
async fn count(client: &RawClient, fault: &Fault) -> Option<u64> {
    if fault.path.starts_with("/faults.v1.Faults/") {
        let answer = client
            .unary("/faults.v1.Faults/Count", &[], &CountRequest {})
            .await;
        Some(answer.message::<CountResponse>().calls)
    } else if fault.path.contains(CRAFTED_SERVICE) {
        let answer = client
            .call(&format!("/{CRAFTED_SERVICE}/Count"), &[], empty())
            .await;
        assert_eq!(answer.code(), Code::Ok, "{answer:?}");
        Some(answer.data[5].into())
    } else {
        None
    }
}

/// Provokes a fault and expects its end.
async fn provoke(client: &RawClient, fault: &Fault) {
    let what = fault.what;
    let timeout = [("grpc-timeout", fault.timeout)];
    let answer = client.call(&fault.path, &timeout, fault.body.clone()).await;
    let ends = match (answer.code(), answer.reason().as_str()) {
        (Code::Ok, _) => Ends::Answered,
        (code, "") => Ends::Refused(code),
        (code, _) => match fault.ends {
            Ends::Failed(_, reason) if reason == answer.reason() => Ends::Failed(code, reason),
            _ => panic!("{what} ended in {answer:?}"),
        },
    };
    assert_eq!(ends, fault.ends, "{what} ended in {answer:?}");
}

async fn faults_of_calls(isolation: Isolation) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let host = host(isolation, &folder, "[server]\nworker_threads = 2").await;
    let client = host.raw().await;
    let beside = Beside::start(host.raw().await);
    for fault in compiled_faults().iter().chain(&crafted_faults()) {
        // With `isolation = "reuse"` the sandbox that counts here is the one that meets the fault.
        let before = count(&client, fault).await;
        provoke(&client, fault).await;
        if let Some(after) = count(&client, fault).await {
            // A guest that ran to its end is fit for another call, whatever it wanted; but a sandbox that
            // holds much memory is retired all the same.
            let ended = matches!(fault.ends, Ends::Refused(_) | Ends::Answered | TOO_LARGE);
            let kept = isolation == Isolation::Reuse && ended;
            assert!(
                after == 1 || kept && Some(after) == before.map(|before| before + 1),
                "the sandbox serves on after {}: {after}",
                fault.what
            );
        }
    }
    beside.fared_well();
    host.stop().await;
}

/// More faults than the host has sandboxes, over and over: none keeps its slot, and memory stops growing.
///
/// The allocator keeps some of what a fault made the host copy, once for each thread that met it. So memory
/// may grow in some rounds, but what a fault leaves behind would make it grow in each.
async fn faults_of_calls_leave_nothing_behind(isolation: Isolation) {
    const ROUNDS: usize = 10;
    /// The smallest memory of a sandbox there is.
    const A_SANDBOX: u64 = 64 << 10;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let sections = "[server]\nmax_concurrent_calls = 2\nmax_queued_calls = 0";
    let host = host(isolation, &folder, sections).await;
    let client = host.raw().await;
    let faults: Vec<_> = compiled_faults().into_iter().chain(crafted_faults()).collect();
    let mut resident = Vec::new();
    for _ in 0..ROUNDS {
        // Those that last until their deadline would only take time.
        for fault in faults.iter().filter(|fault| fault.ends != LATE) {
            provoke(&client, fault).await;
        }
        resident.push(host.resident_bytes());
    }
    let mut growth = resident.windows(2).map(|round| round[1].saturating_sub(round[0]));
    assert!(
        growth.any(|growth| growth < A_SANDBOX),
        "it grows in every round: {resident:?}"
    );
    host.stop().await;
}

/// Components that must not be served, each with a part of the reason.
fn refused() -> Vec<(&'static str, Crafted, &'static str)> {
    const UNDESCRIBED: &str = "could not describe itself";
    let with = |name: &str, change: &dyn Fn(&mut Crafted)| {
        let mut crafted = Crafted::named(name);
        change(&mut crafted);
        crafted
    };
    let start = |crafted: &mut Crafted, body: &str| {
        crafted.fields = format!("(func $start {body}) (start $start)");
    };
    let service = |name: &str| format!("crafted.v1.{name}");
    vec![
        (
            "describe-loops",
            with("A", &|it| it.describe = "(loop $again (br $again))"),
            "longer than 1 second",
        ),
        (
            "describe-traps",
            with("B", &|it| it.describe = "unreachable"),
            UNDESCRIBED,
        ),
        (
            "describe-outside",
            with("C", &|it| it.describe = "(return (i32.const -64))"),
            UNDESCRIBED,
        ),
        (
            "start-loops",
            with("D", &|it| start(it, "(loop $again (br $again))")),
            "longer than 1 second",
        ),
        (
            "start-traps",
            with("E", &|it| start(it, "unreachable")),
            UNDESCRIBED,
        ),
        (
            "start-grows",
            with("F", &|it| {
                start(
                    it,
                    "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
                );
            }),
            UNDESCRIBED,
        ),
        ("huge-memory", with("G", &|it| it.pages = 60_000), "memory"),
        (
            "huge-table",
            with("H", &|it| it.fields = "(table 1000000 funcref)".into()),
            "table",
        ),
        (
            "name-not-utf8",
            with("I", &|it| it.name = vec![0xff, 0xfe]),
            UNDESCRIBED,
        ),
        (
            "no-methods",
            with("J", &|it| it.methods.clear()),
            "describes no method",
        ),
        (
            "many-methods",
            with("K", &|it| {
                it.methods = vec![("/crafted.v1.K/Call".into(), EMPTY.into()); 4097]
            }),
            "4097 methods, over the limit",
        ),
        (
            "method-twice",
            with("L", &|it| it.methods.push(it.methods[0].clone())),
            "describes method /crafted.v1.L/Call twice",
        ),
        (
            "method-unknown",
            with("M", &|it| {
                it.methods.push(("/crafted.v1.M/Other".into(), EMPTY.into()))
            }),
            "describes method /crafted.v1.M/Other, which its descriptors do not have",
        ),
        (
            "method-invalid",
            with("N", &|it| it.methods[0].0 = "crafted.v1.N.Call\n\u{1b}[2J".into()),
            "which its descriptors do not have",
        ),
        (
            "garbage-descriptors",
            with("O", &|it| it.descriptors = vec![0xff; 64]),
            "descriptors do not parse",
        ),
        (
            "huge-descriptors",
            with("P", &|it| {
                it.pages = 128;
                it.descriptors.resize(5 << 20, 0);
            }),
            "bytes of descriptors, over the limit",
        ),
        (
            "types-unknown",
            with("Q", &|it| {
                it.descriptors = descriptors(&service("Q"), &["Call"], |file| {
                    file.service[0].method[0].input_type = Some(".crafted.v1.Elsewhere".into());
                });
            }),
            "descriptors do not parse",
        ),
        (
            "service-twice",
            with("R", &|it| {
                it.descriptors = descriptors(&service("R"), &["Call"], |file| {
                    file.service.push(file.service[0].clone());
                });
            }),
            "descriptors do not parse",
        ),
        (
            "streaming",
            with("S", &|it| {
                it.descriptors = descriptors(&service("S"), &["Call"], |file| {
                    file.service[0].method[0].server_streaming = Some(true);
                });
            }),
            "is streaming",
        ),
        (
            "the-hosts-own",
            Crafted::serving("grpc.health.v1.Health", &[("Check", EMPTY)]),
            "which the host serves itself",
        ),
    ]
}

#[tokio::test]
async fn faults_of_loading_are_refused_with_their_reason() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = |name: &str| -> PathBuf { folder.path().join(format!("{name}.wasm")) };
    let mut plugins = refused().into_iter().map(|(name, crafted, _)| {
        crafted.write_to(&file(name));
        Plugin::crafted(name, "", &file(name), Isolation::Call)
    });
    let first = plugins.next().expect("there are some");
    let ended = plugins.fold(Setup::of(first), Setup::and).run().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for (name, _, reason) in refused() {
        let refusal = ended
            .stderr
            .lines()
            .find(|line| line.contains(&format!("plugin {name}: ")))
            .unwrap_or_else(|| panic!("{name} was not refused:\n{}", ended.stderr));
        assert!(refusal.contains(reason), "{name}: {refusal}");
    }
}
