//! Every way to misbehave, each with its defined end.
//!
//! A fault of a call ends in one status, with one reason if it is the host's own; a fault of loading keeps
//! the plugin from being served. Either way the calls beside it go on, the sandbox is not used again, and
//! nothing of it stays behind.
//!
//! The plugin of faults misbehaves as compiled code can. What no compiler makes (lying descriptions, values
//! that the contract's types rule out, traps between the answer and its end) is crafted by hand.

use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tonic::Code;

use crate::in_both_modes;
use crate::support::crafted::Crafted;
use crate::support::pb::faults::*;
use crate::support::raw::RawClient;
use crate::support::{Host, Isolation, Plugin, Setup};

use by_hand::{CRAFTED_SERVICE, STARTS, bad_start, crafted, crafted_faults};
use compiled::compiled_faults;

mod by_hand;
mod compiled;
mod loading;

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

/// Calls the neighbour, one call after another, until dropped. With a pause, because the guests that compute are
/// to have some of the processors, and other tests run beside this one.
struct Beside(tokio::task::JoinHandle<()>);

impl Beside {
    fn start(client: RawClient) -> Self {
        Self(tokio::spawn(async move {
            loop {
                let answer = client.call("/crafted.v1.Neighbour/Call", &[], empty()).await;
                assert_eq!(answer.code(), Code::Ok, "{answer:?}");
                tokio::time::sleep(Duration::from_millis(1)).await;
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
