//! Memory that clients share: one that takes all it can get leaves as much to the others.

use bytes::Bytes;
use tonic::Code;

use crate::support::frames::*;
use crate::support::pb::faults::*;
use crate::support::raw::{RawAnswer, RawClient, framed_bytes};
use crate::support::{Host, Isolation, Plugin, Setup, until_some};

use super::memory::{take_nothing, take_nothing_for};
use super::{ECHO, Honest, connect_from};

/// Honest clients of the tests are at 127.0.0.1.
const HOARDERS: [&str; 2] = ["127.0.0.2", "127.0.0.3"];

async fn start(section: &str) -> Host {
    Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await
}

async fn raw_from(source: &str, host: &Host) -> RawClient {
    RawClient::over(connect_from(source, host.address).await, host.address).await
}

/// A call with a large request, which is held until it is answered.
async fn large_call(raw: &RawClient) -> RawAnswer {
    let large = EchoRequest {
        payload: vec![7; 999_000],
    };
    raw.unary(ECHO, &[], &large).await
}

/// The same client when its answer is there, of which it takes the headers alone.
async fn untaken(mut client: FrameClient) -> FrameClient {
    while client.next().await.expect("an answer").kind != HEADERS {}
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_one_client_leave_room_for_others() {
    let host = start("[server]\nmax_request_bytes = 1000000\nmax_request_memory_bytes = 16000000").await;
    let honest = Honest::begin(&host).await;
    // All but the last byte.
    let mut message = framed_bytes(0, &[7; 1_000_000]).to_vec();
    message.pop();
    let message = Bytes::from(message);
    let mut hoarded = Vec::new();
    for hoarder in HOARDERS {
        // On one connection after the other, until no more of it is held.
        let probe = raw_from(hoarder, &host).await;
        let refusal = until_some("a refusal of the hoarder", async || {
            let raw = raw_from(hoarder, &host).await;
            let call = raw.call_slowly(ECHO, &[]);
            call.send(message.clone()).await;
            hoarded.push(call);
            let answer = large_call(&probe).await;
            (answer.code() != Code::Ok).then_some(answer)
        })
        .await;
        assert_eq!(
            (refusal.code(), refusal.reason().as_str()),
            (Code::Unavailable, "REQUEST_MEMORY_FULL")
        );
        // Everybody else is served.
        let other = host.raw().await;
        for _ in 0..20 {
            large_call(&other).await.message::<EchoResponse>();
        }
    }
    honest.fared_well(&host, 128 << 20).await;
    drop(hoarded);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_one_client_leave_room_for_others() {
    let host = start("[server]\nmax_response_memory_bytes = 16777216").await;
    let honest = Honest::begin(&host).await;
    let mut hoarded = Vec::new();
    for hoarder in HOARDERS {
        let probe = raw_from(hoarder, &host).await;
        let refusal = until_some("a refusal of the hoarder", async || {
            let client = FrameClient::begin_on(connect_from(hoarder, host.address).await).await;
            hoarded.push(untaken(take_nothing(client, 1).await).await);
            let answer = probe.unary(ECHO, &[], &EchoRequest::default()).await;
            (answer.code() != Code::Ok).then_some(answer)
        })
        .await;
        assert_eq!(
            (refusal.code(), refusal.reason().as_str()),
            (Code::Unavailable, "RESPONSE_MEMORY_FULL")
        );
        let other = host.raw().await;
        for _ in 0..20 {
            large_call(&other).await.message::<EchoResponse>();
        }
    }
    honest.fared_well(&host, 128 << 20).await;
    drop(hoarded);
    host.stop().await;
}

/// Clients that a proxy names are told apart as those that connect themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_proxy_are_told_apart() {
    let section = "[server]\nmax_response_memory_bytes = 8388608\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let host = start(section).await;
    let proxy = host.raw().await;
    let of = async |client: &str| {
        let headers = [("x-forwarded-for", client)];
        proxy.unary(ECHO, &headers, &EchoRequest::default()).await
    };
    let mut hoarded = Vec::new();
    until_some("a refusal of the hoarder", async || {
        let client = FrameClient::begin(host.address).await;
        hoarded.push(untaken(take_nothing_for(client, "192.0.2.1", 1).await).await);
        (of("192.0.2.1").await.reason() == "RESPONSE_MEMORY_FULL").then_some(())
    })
    .await;
    of("192.0.2.2").await.message::<EchoResponse>();
    drop(hoarded);
    until_some("room", async || {
        (of("192.0.2.1").await.code() == Code::Ok).then_some(())
    })
    .await;
    host.stop().await;
}
