//! Guests that misbehave end in their defined status, while the calls beside them go on.

use std::time::{Duration, Instant};

use tonic::{Code, Status};

use crate::in_both_modes;
use crate::support::log::{Line, Log};
use crate::support::pb::faults::*;
use crate::support::raw::RawAnswer;
use crate::support::{Host, Isolation, Neighbour, Plugin, Setup, reason, until_some};

in_both_modes!(
    endless_loops_end_at_their_deadline,
    a_loop_ends_when_its_caller_goes_away,
    panics_are_explained_to_the_operator_alone,
    traps_come_with_a_readable_stack,
    exits_are_failures,
    memory_is_bounded,
    recursion_is_bounded,
    huge_answers_are_refused,
);

const LOOP: &str = "/faults.v1.Faults/Loop";

/// Runs `misbehave` while a neighbour calls, and expects that the neighbour never notices.
async fn beside_a_neighbour(setup: Setup, misbehave: impl AsyncFnOnce(&Host)) {
    let host = setup.start().await;
    let neighbour = Neighbour::of(&host);
    neighbour.goes_on(1).await;
    misbehave(&host).await;
    neighbour.goes_on(1).await;
    neighbour.fared_well().await;
    host.stop().await;
}

/// What a client hears of a plugin that failed.
fn expect_plugin_failed(status: &Status) {
    assert_eq!(
        (status.code(), reason(status).as_str()),
        (Code::Unknown, "PLUGIN_FAILED")
    );
    assert_eq!(status.message(), "The service failed to handle this call");
}

/// The line that explains a failed call to the operator.
async fn failed_call(log: &Log, reason: &'static str) -> Line {
    log.wait_for(reason, |line| {
        line.level() == "ERROR" && line.field("reason") == reason
    })
    .await
}

/// Why the guest stopped, and where.
fn stack(line: &Line) -> &str {
    line.field("cause").as_str().unwrap_or_default()
}

async fn endless_loops_end_at_their_deadline(isolation: Isolation) {
    // More loops at once than the host has threads.
    const LOOPS: usize = 8;
    let setup = Setup::of(Plugin::faults(isolation)).with("[server]\nworker_threads = 2");
    beside_a_neighbour(setup, async |host| {
        let raw = host.raw().await;
        let began = Instant::now();
        let loops: Vec<_> = (0..LOOPS)
            .map(|_| {
                let raw = raw.clone();
                tokio::spawn(async move { raw.unary(LOOP, &[("grpc-timeout", "1S")], &LoopRequest {}).await })
            })
            .collect();
        let neighbour = Neighbour::of(host);
        neighbour.goes_on(10).await;
        for looping in loops {
            let answer: RawAnswer = looping.await.expect("answered");
            assert_eq!(
                (answer.code(), answer.reason().as_str()),
                (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
            );
        }
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
        neighbour.fared_well().await;
    })
    .await;
}

/// A call without a deadline holds the plugin's only permit, until its caller goes away.
async fn a_loop_ends_when_its_caller_goes_away(isolation: Isolation) {
    let plugin = Plugin::faults(isolation).key("max_concurrent_calls", 1);
    let host = Setup::of(plugin)
        .with("[server]\nmax_queued_calls = 0")
        .start()
        .await;
    let looping = crate::admission::occupy_for_ever(&host).await;
    looping.abort();
    until_some("a free permit", async || {
        host.faults().echo(EchoRequest::default()).await.ok()
    })
    .await;
    host.stop().await;
}

async fn panics_are_explained_to_the_operator_alone(isolation: Isolation) {
    beside_a_neighbour(Setup::of(Plugin::faults(isolation)), async |host| {
        let secret = "the password is hunter2";
        let status = host
            .faults()
            .panic(PanicRequest {
                message: secret.into(),
            })
            .await;
        let status = status.expect_err("a panic");
        expect_plugin_failed(&status);
        assert!(!format!("{status:?}").contains("hunter2"), "{status:?}");
        assert!(
            status
                .metadata()
                .iter()
                .all(|entry| !format!("{entry:?}").contains("hunter2"))
        );

        let said = host
            .log
            .wait_for("the panic", |line| line.message().contains(secret))
            .await;
        assert_eq!((said.level(), said.target()), ("ERROR", "mortise::guest"));
        assert!(
            said.text.contains("faults/src/lib.rs"),
            "where it panicked: {}",
            said.text
        );
        let failed = failed_call(&host.log, "PLUGIN_FAILED").await;
        assert!(
            stack(&failed).contains("mortise_guest::plugin::handle"),
            "a stack with names: {}",
            failed.text
        );
        assert_eq!(failed.call("id"), said.call("id"));
        assert_eq!(failed.call("method"), "/faults.v1.Faults/Panic");
        assert_eq!(failed.call("plugin"), "faults");
        assert_eq!(failed.field("blame"), "plugin");
    })
    .await;
}

async fn traps_come_with_a_readable_stack(isolation: Isolation) {
    beside_a_neighbour(Setup::of(Plugin::faults(isolation)), async |host| {
        let status = host.faults().trap(TrapRequest {}).await.expect_err("a trap");
        expect_plugin_failed(&status);
        let failed = failed_call(&host.log, "PLUGIN_FAILED").await;
        assert!(stack(&failed).contains("unreachable"), "{}", failed.text);
        assert!(
            stack(&failed).contains("faults::resources::trap"),
            "a stack with names: {}",
            failed.text
        );
    })
    .await;
}

async fn exits_are_failures(isolation: Isolation) {
    beside_a_neighbour(Setup::of(Plugin::faults(isolation)), async |host| {
        for code in [0, 1] {
            let status = host
                .faults()
                .exit(ExitRequest { code })
                .await
                .expect_err("an exit");
            expect_plugin_failed(&status);
        }
    })
    .await;
}

async fn memory_is_bounded(isolation: Isolation) {
    const LIMIT: u64 = 16 << 20;
    let setup = Setup::of(Plugin::faults(isolation).key("max_memory_bytes", LIMIT));
    beside_a_neighbour(setup, async |host| {
        // A guest that copes with refusal is told no, and may answer.
        let eaten = host.faults().eat_memory(EatMemoryRequest { abort: false }).await;
        let bytes = eaten.expect("it copes").into_inner().bytes;
        assert!((LIMIT / 2..=LIMIT).contains(&bytes), "{bytes}");

        let status = host
            .faults()
            .eat_memory(EatMemoryRequest { abort: true })
            .await
            .expect_err("aborted");
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::ResourceExhausted, "PLUGIN_OUT_OF_MEMORY")
        );
        failed_call(&host.log, "PLUGIN_OUT_OF_MEMORY").await;
        // Nothing of it is left for the next call.
        let eaten = host.faults().eat_memory(EatMemoryRequest { abort: false }).await;
        assert_eq!(eaten.expect("it copes").into_inner().bytes, bytes);
    })
    .await;
}

async fn recursion_is_bounded(isolation: Isolation) {
    beside_a_neighbour(Setup::of(Plugin::faults(isolation)), async |host| {
        let status = host
            .faults()
            .recurse(RecurseRequest {})
            .await
            .expect_err("no end");
        expect_plugin_failed(&status);
        let failed = failed_call(&host.log, "PLUGIN_FAILED").await;
        assert!(
            stack(&failed).contains("faults::resources::recurse"),
            "{}",
            failed.text
        );
        assert!(failed.text.len() < 16 << 10, "a bounded stack");
    })
    .await;
}

async fn huge_answers_are_refused(isolation: Isolation) {
    beside_a_neighbour(Setup::of(Plugin::faults(isolation)), async |host| {
        let huge = host
            .faults()
            .huge_answer(HugeAnswerRequest { bytes: 11 << 20 })
            .await;
        let status = huge.expect_err("too large");
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::ResourceExhausted, "ANSWER_TOO_LARGE")
        );
        failed_call(&host.log, "ANSWER_TOO_LARGE").await;
    })
    .await;
}
