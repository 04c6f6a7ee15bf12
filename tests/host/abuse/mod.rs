//! Clients that take what they can: floods, slowness, hoarding. The host stays small, tells them to stop in the
//! words of the protocol, and serves the others.

mod connections;
mod floods;
mod memory;
mod proxies;
mod slow;
mod unix_socket;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use crate::support::pb::faults::*;
use crate::support::{Host, until_some};

const ECHO: &str = "/faults.v1.Faults/Echo";

/// An honest client, which calls until it is asked how that went.
struct Honest {
    stop: Arc<AtomicBool>,
    calling: JoinHandle<u32>,
}

impl Honest {
    async fn call(host: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let raw = host.raw().await;
        let stopped = stop.clone();
        let calling = tokio::spawn(async move {
            let request = EchoRequest {
                payload: vec![7; 1000],
            };
            let mut served = 0;
            while !stopped.load(Ordering::Relaxed) {
                let answer = raw.unary(ECHO, &[], &request).await;
                assert_eq!(answer.message::<EchoResponse>().payload, request.payload);
                served += 1;
            }
            served
        });
        Self { stop, calling }
    }

    /// All its calls were served, and there were some.
    async fn was_served(self) {
        self.stop.store(true, Ordering::Relaxed);
        let served = self.calling.await.expect("every call is served");
        assert!(served > 0);
    }
}

/// What the host holds is what it held before, but for so many bytes.
async fn has_not_grown(host: &Host, before: u64, by: u64) {
    until_some("the host to be small again", async || {
        (host.resident_bytes() < before + by).then_some(())
    })
    .await;
}

/// Calls until memory for calls is taken: sandboxes, threads, buffers.
async fn warm_up(host: &Host) -> u64 {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let raw = host.raw().await;
        calls.spawn(async move {
            for _ in 0..50 {
                raw.unary(ECHO, &[], &EchoRequest::default()).await;
            }
        });
    }
    calls.join_all().await;
    host.resident_bytes()
}
