//! How many calls run and wait at once.

use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::in_both_modes;
use crate::support::pb::faults::*;
use crate::support::{Host, Isolation, Plugin, Setup, reason, until_some};

in_both_modes!(
    a_full_host_refuses_and_recovers,
    a_full_plugin_leaves_the_others_alone
);

/// Waits until the only permit of a host without a queue is taken.
pub(crate) async fn until_full(host: &Host) {
    until_some("a refusal", async || {
        let status = host.faults().count(CountRequest {}).await.err()?;
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "OVERLOADED")
        );
        Some(())
    })
    .await;
}

async fn a_full_host_refuses_and_recovers(isolation: Isolation) {
    let one = "[server]\nmax_concurrent_calls = 1\nmax_queued_calls = 0";
    let host = Setup::of(Plugin::faults(isolation)).with(one).start().await;
    let looping = {
        let raw = host.raw().await;
        tokio::spawn(async move { raw.unary("/faults.v1.Faults/Loop", &[], &LoopRequest {}).await })
    };
    until_full(&host).await;
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
    let looping = {
        let raw = host.raw().await;
        tokio::spawn(async move { raw.unary("/faults.v1.Faults/Loop", &[], &LoopRequest {}).await })
    };
    until_full(&host).await;
    host.orders()
        .create_order(crate::orders::order("beside"))
        .await
        .expect("another plugin");
    looping.abort();
    host.stop().await;
}
