//! How many calls run and wait at once.

use tokio::task::JoinHandle;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::in_both_modes;
use crate::support::pb::faults::*;
use crate::support::raw::RawAnswer;
use crate::support::{Host, Isolation, Plugin, Setup, reason, until_some};

in_both_modes!(
    a_full_host_refuses_and_recovers,
    a_full_plugin_leaves_the_others_alone,
    queued_calls_wait_until_their_deadline,
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
