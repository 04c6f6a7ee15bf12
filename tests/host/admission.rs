//! How many calls run and wait at once.

use std::time::Duration;

use tokio::task::JoinHandle;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;

use crate::in_both_modes;
use crate::support::pb::faults::*;
use crate::support::raw::RawAnswer;
use crate::support::{Host, Isolation, Plugin, Setup, reason, until_some};

in_both_modes!(
    a_full_host_refuses_and_recovers,
    a_full_plugin_leaves_the_others_alone,
    a_full_method_leaves_the_others_alone,
    queued_calls_wait_until_their_deadline,
    callers_are_told_when_to_come_again,
    a_flooded_plugin_leaves_the_others_their_share,
);

/// A call in its sandbox, holding the only permit of a plugin or host without a queue.
pub(crate) async fn occupy<M>(host: &Host, path: &'static str, message: M) -> JoinHandle<RawAnswer>
where
    M: prost::Message + 'static,
{
    let raw = host.raw().await;
    let call = tokio::spawn(async move {
        loop {
            let answer = raw.unary(path, &[], &message).await;
            // One of the calls below was first.
            if answer.trailers.is_some() || answer.reason() != "OVERLOADED" {
                return answer;
            }
        }
    });
    until_some("a refusal", async || {
        let status = host.faults().count(CountRequest {}).await.err()?;
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "OVERLOADED")
        );
        Some(())
    })
    .await;
    call
}

/// The same, with a call that never ends by itself.
pub(crate) async fn occupy_for_ever(host: &Host) -> JoinHandle<RawAnswer> {
    occupy(host, "/faults.v1.Faults/Loop", LoopRequest {}).await
}

async fn a_full_host_refuses_and_recovers(isolation: Isolation) {
    let one = "[server]\nmax_concurrent_calls = 1\nmax_queued_calls = 0";
    let host = Setup::of(Plugin::faults(isolation)).with(one).start().await;
    let looping = occupy_for_ever(&host).await;
    // Health does not need a sandbox.
    host.wait_until("faults.v1.Faults", ServingStatus::Serving).await;
    looping.abort();
    until_some("an answer", async || {
        host.faults().count(CountRequest {}).await.ok()
    })
    .await;
    host.stop().await;
}

async fn a_full_plugin_leaves_the_others_alone(isolation: Isolation) {
    let faults = Plugin::faults(isolation).key("max_concurrent_calls", 1);
    let setup = Setup::of(faults).and(Plugin::order(isolation));
    let host = setup.with("[server]\nmax_queued_calls = 0").start().await;
    let looping = occupy_for_ever(&host).await;
    host.orders()
        .create_order(crate::orders::order("beside"))
        .await
        .expect("another plugin");
    looping.abort();
    host.stop().await;
}

async fn queued_calls_wait_until_their_deadline(isolation: Isolation) {
    let one = "[server]\nmax_concurrent_calls = 1\nmax_queued_calls = 1";
    let host = Setup::of(Plugin::faults(isolation)).with(one).start().await;
    let raw = host.raw().await;
    let count = "/faults.v1.Faults/Count";
    let looping = {
        let raw = raw.clone();
        tokio::spawn(async move { raw.unary("/faults.v1.Faults/Loop", &[], &LoopRequest {}).await })
    };
    // Answered for as long as the loop has not begun.
    until_some("a call that waits in vain", async || {
        let answer = raw
            .unary(count, &[("grpc-timeout", "200m")], &CountRequest {})
            .await;
        (answer.code() == Code::DeadlineExceeded).then_some(())
    })
    .await;
    let waiting = tokio::spawn(async move { raw.unary(count, &[], &CountRequest {}).await });
    looping.abort();
    waiting.await.expect("no panic").message::<CountResponse>();
    host.stop().await;
}

async fn a_full_method_leaves_the_others_alone(isolation: Isolation) {
    let one = "[server]\nmax_queued_calls = 0\n\
               [methods.\"faults.v1.Faults\"]\nmax_concurrent_calls = 1\n\
               [methods.\"faults.v1.Faults/Echo\"]\nmax_concurrent_calls = 100";
    let host = Setup::of(Plugin::faults(isolation)).with(one).start().await;
    let raw = host.raw().await;
    let looping: Vec<_> = (0..2)
        .map(|_| {
            let raw = raw.clone();
            tokio::spawn(async move { raw.unary("/faults.v1.Faults/Loop", &[], &LoopRequest {}).await })
        })
        .collect();
    // One of them is too many.
    until_some("a refusal", async || {
        looping.iter().any(JoinHandle::is_finished).then_some(())
    })
    .await;
    host.faults()
        .count(CountRequest {})
        .await
        .expect("another method");
    host.faults()
        .echo(EchoRequest::default())
        .await
        .expect("a method with another bound");
    for call in &looping {
        call.abort();
    }
    host.stop().await;
}

async fn callers_are_told_when_to_come_again(isolation: Isolation) {
    let rates = "[server]\nrate_per_peer = \"4/1h\"\n\
                 [methods.\"faults.v1.Faults/Count\"]\nrate = \"1/1h\"\n\
                 [methods.\"faults.v1.Faults/Echo\"]\nrate_per_peer = \"2/1h\"";
    let host = Setup::of(Plugin::faults(isolation)).with(rates).start().await;
    let raw = host.raw().await;
    let (count, echo) = ("/faults.v1.Faults/Count", "/faults.v1.Faults/Echo");
    for (path, allowed) in [
        (count, true),
        (count, false),
        (echo, true),
        (echo, true),
        (echo, false),
        ("/faults.v1.Faults/EchoRead", true),
        ("/faults.v1.Faults/EchoRead", false),
    ] {
        // Both requests are empty.
        let answer = raw.unary(path, &[], &EchoRequest::default()).await;
        if allowed {
            assert_eq!(answer.code(), Code::Ok, "{path}");
            continue;
        }
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::ResourceExhausted, "RATE_LIMITED"),
            "{path}"
        );
        let retry = answer
            .status()
            .get_details_retry_info()
            .expect("when to come again");
        let delay = retry.retry_delay.expect("how long");
        assert!(
            delay > Duration::from_secs(600) && delay <= Duration::from_secs(3600),
            "{delay:?}"
        );
        let pushback = answer.headers["grpc-retry-pushback-ms"].to_str().expect("digits");
        let pushback = Duration::from_millis(pushback.parse().expect("digits"));
        assert_eq!(pushback.as_millis(), delay.as_millis());
    }
    // The host's own services are not counted.
    host.wait_until("faults.v1.Faults", ServingStatus::Serving).await;
    host.stop().await;
}

async fn a_flooded_plugin_leaves_the_others_their_share(isolation: Isolation) {
    let setup = Setup::of(Plugin::faults(isolation)).and(Plugin::order(isolation));
    let bounds = "[server]\nmax_concurrent_calls = 8\nmax_queued_calls = 8";
    let host = setup.with(bounds).start().await;
    let raw = host.raw().await;
    let mut flood: Vec<_> = (0..100)
        .map(|_| {
            let raw = raw.clone();
            tokio::spawn(async move { raw.unary("/faults.v1.Faults/Loop", &[], &LoopRequest {}).await })
        })
        .collect();
    // Six run, six wait, and the rest is refused.
    until_some("refusals", async || {
        let ended = flood.iter().filter(|call| call.is_finished()).count();
        (ended == 88).then_some(())
    })
    .await;
    for call in flood.extract_if(.., |call| call.is_finished()) {
        let refused = call.await.expect("no panic");
        assert_eq!(
            (refused.code(), refused.reason().as_str()),
            (Code::Unavailable, "OVERLOADED")
        );
        assert!(refused.headers.contains_key("grpc-retry-pushback-ms"));
    }
    for number in 0..20 {
        let order = crate::orders::order(&format!("beside-{number}"));
        host.orders().create_order(order).await.expect("another plugin");
    }
    for call in &flood {
        call.abort();
    }
    host.stop().await;
}
