//! What is done to a host before it is asked for its figures.

use prost::Message as _;
use tonic::Code;

use super::{FAULTS, method};
use crate::support::pb::caller::{AskBackendRequest, ForwardRequest, Outgoing};
use crate::support::pb::faults::write_then_request::Ending;
use crate::support::pb::faults::*;
use crate::support::{Host, reason, until_some};

/// Calls that end in every way there is. Returns how often handlers ran again.
pub(super) async fn calls_of_all_kinds(host: &Host) -> f64 {
    for _ in 0..3 {
        host.faults()
            .echo(EchoRequest::default())
            .await
            .expect("answered");
    }
    let fail = FailRequest {
        code: Code::NotFound as i32,
        message: "no".into(),
        ..FailRequest::default()
    };
    host.faults().fail(fail).await.expect_err("as told");
    host.faults().trap(TrapRequest {}).await.expect_err("as told");
    host.faults()
        .panic(PanicRequest::default())
        .await
        .expect_err("as told");
    host.faults()
        .recurse(RecurseRequest {})
        .await
        .expect_err("no end");
    host.faults()
        .exit(ExitRequest { code: 3 })
        .await
        .expect_err("as told");
    let eat = host.faults().eat_memory(EatMemoryRequest { abort: true }).await;
    assert_eq!(reason(&eat.expect_err("aborted")), "PLUGIN_OUT_OF_MEMORY");
    // From a client without a clock of its own, which could be first.
    let timeout = [("grpc-timeout", "200m")];
    let endless = host
        .raw()
        .await
        .unary(&method("Loop"), &timeout, &LoopRequest {})
        .await;
    assert_eq!(endless.code(), Code::DeadlineExceeded);
    let sleep = SleepRequest { milliseconds: 100 };
    host.faults().sleep(sleep).await.expect("answered");
    // The second is repeated, and answered as before.
    for key in ["a", "b", "b"] {
        let mut write = tonic::Request::new(WriteThenRequest {
            key: key.into(),
            value: "x".into(),
            ending: Ending::Ok.into(),
        });
        if key == "b" {
            let once = "once".parse().expect("a value");
            write.metadata_mut().insert("idempotency-key", once);
        }
        host.faults().write_then(write).await.expect("kept");
    }
    // What reaches no method, or no handler.
    let raw = host.raw().await;
    for path in ["/faults.v1.Faults/Absent", "/a.B/C", "/"] {
        raw.unary(path, &[], &EchoRequest::default()).await;
    }
    let malformed = [("grpc-timeout", "soon")];
    let answer = raw
        .unary(&method("Echo"), &malformed, &EchoRequest::default())
        .await;
    assert_eq!(answer.reason(), "MALFORMED_TIMEOUT");
    // A client that goes away.
    let call = tokio::spawn(async move { raw.unary(&method("Loop"), &[], &LoopRequest {}).await });
    until_some("the call that is about to be left", async || {
        let page = host.metrics().await;
        let labels = [("plugin", "faults"), ("generation", FAULTS)];
        (page.value("mortise_calls_in_flight", &labels) == Some(1.0)).then_some(())
    })
    .await;
    call.abort();
    // Rivals that meet.
    let increment = || async {
        let increment = IncrementRequest {
            key: "count".into(),
            wait_milliseconds: 100,
        };
        host.faults()
            .increment(increment)
            .await
            .expect("answered")
            .into_inner()
            .attempt
    };
    let mut retries = 0;
    while retries == 0 {
        let (one, other) = tokio::join!(increment(), increment());
        retries += one + other - 2;
    }
    f64::from(retries)
}

/// Calls of the plugin to services outside: one answered, one refused there, one repeated, and one to nobody.
pub(super) async fn upstream_calls(host: &Host) {
    for text in ["fine", "denied", "later"] {
        // How the plugin puts it is not the point.
        let _ = host.caller().ask(AskBackendRequest { text: text.into() }).await;
    }
    let nobody = Outgoing {
        target: "other".into(),
        method: "/caller.v1.Backend/Ask".into(),
        ..Outgoing::default()
    };
    let forward = ForwardRequest {
        requests: vec![nobody],
    };
    host.caller()
        .forward(forward)
        .await
        .expect("it tells what came of it");
}

/// Two calls that publish, three that schedule, two that were made and two that were given up.
pub(super) const DEFERRED_COMMITS: f64 = 9.0;

/// A timer and an event whose calls succeed, a timer and an event whose calls are given up, and a timer that
/// waits.
pub(super) async fn calls_left_for_later(host: &Host) {
    let remember = |key: &str, after: &str| RememberRequest {
        key: key.into(),
        after: after.into(),
        ..RememberRequest::default()
    };
    for (key, after, delay_milliseconds) in [("t", "", 0), ("t", "absent", 0), ("t", "", 3_600_000)] {
        let schedule = ScheduleRequest {
            count: 1,
            delay_milliseconds,
            request: Some(remember(key, after)),
            ..ScheduleRequest::default()
        };
        host.faults().schedule(schedule).await.expect("scheduled");
    }
    // Before the next one, which it is to make way for.
    host.until_metric("the timer given up", "mortise_dead_letters_added_total", 1.0)
        .await;
    for (key, after) in [("e", ""), ("e", "absent")] {
        let event = PublishRequest {
            topic: "faults.again".into(),
            key: key.into(),
            payload: remember(key, after).encode_to_vec(),
        };
        host.faults().publish(event).await.expect("published");
    }
    until_some("both given up and both made", async || {
        let page = host.metrics().await;
        let made = [
            "mortise_timers_fired_total",
            "mortise_subscription_deliveries_total",
        ];
        let made: f64 = made.iter().map(|name| page.sum(name, &[])).sum();
        let dead = page.value("mortise_dead_letters_added_total", &[]);
        (dead == Some(2.0) && made == 2.0).then_some(())
    })
    .await;
}
