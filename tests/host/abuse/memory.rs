//! Requests that announce or send much and never end, and answers that nobody takes.

use bytes::Bytes;
use tonic::Code;

use crate::support::frames::*;
use crate::support::pb::faults::*;
use crate::support::raw::{framed, framed_bytes};
use crate::support::{Isolation, Plugin, Setup, until_some};

use super::{ECHO, Honest};

/// What is announced is not there yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_messages_take_no_memory() {
    let host = Setup::of(Plugin::faults(Isolation::Call)).start().await;
    let honest = Honest::begin(&host).await;
    let mut client = FrameClient::begin(host.address).await;
    // The first byte of ten MiB, on as many streams as there may be.
    let mut announced = vec![0];
    announced.extend((10_u32 << 20).to_be_bytes());
    announced.push(7);
    for call in 0..1000 {
        let stream = 2 * call + 1;
        let headers = frame(HEADERS, END_HEADERS, stream, &block(ECHO));
        // One after the other, so that each is held by its call.
        client
            .send(&[headers, frame(DATA, 0, stream, &announced[..3])].concat())
            .await;
        client.send(&frame(DATA, 0, stream, &announced[3..])).await;
    }
    // All of it has been read when this is answered.
    client.send(&frame(PING, 0, 0, b"all read")).await;
    loop {
        let frame = client.next().await.expect("it is open");
        if frame.kind == PING && frame.payload == b"all read" {
            break;
        }
    }
    honest.fared_well(&host, 64 << 20).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_share_a_bounded_memory() {
    let section = "[server]\nmax_request_bytes = 1048576\nmax_request_memory_bytes = 4194304";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await;
    let raw = host.raw().await;
    let large = EchoRequest {
        payload: vec![7; 1_000_000],
    };
    raw.unary(ECHO, &[], &large).await.message::<EchoResponse>();
    // All but the last byte.
    let mut message = framed_bytes(0, &[7; 1_000_000]).to_vec();
    message.pop();
    let hoard = async || {
        let client = host.raw().await;
        let call = client.call_slowly(ECHO, &[]);
        call.send(Bytes::from(message.clone())).await;
        (client, call)
    };
    let mut hoarded = Vec::new();
    let refusal = until_some("a refusal", async || {
        let answer = raw.unary(ECHO, &[], &large).await;
        if answer.code() == Code::Ok {
            // A hoarder that comes while an honest request is there may be refused itself.
            hoarded.push(hoard().await);
            return None;
        }
        Some(answer)
    })
    .await;
    assert_eq!(
        (refusal.code(), refusal.reason().as_str()),
        (Code::Unavailable, "REQUEST_MEMORY_FULL")
    );
    // A request that comes in one piece finds its place all the same.
    let small = frame(DATA, END_STREAM, 1, &[0; 5]);
    let mut client = FrameClient::begin(host.address).await;
    let headers = frame(HEADERS, END_HEADERS, 1, &block(ECHO));
    client.send(&[headers, small].concat()).await;
    let data = loop {
        let frame = client.next().await.expect("an answer");
        if frame.stream == 1 && frame.kind == DATA {
            break frame;
        }
    };
    assert_eq!(data.payload[0], 0, "a message");
    // What a client gives up is free.
    for (client, _) in hoarded {
        client.close();
    }
    until_some("room", async || {
        let answer = raw.unary(ECHO, &[], &large).await;
        (answer.code() == Code::Ok).then_some(())
    })
    .await;
    host.stop().await;
}

/// A client that takes no answers, and makes so many calls for large ones.
pub(super) async fn take_nothing(client: FrameClient, calls: u32) -> FrameClient {
    take_nothing_as(client, &[], calls).await
}

/// The same, of a proxy for a client.
pub(super) async fn take_nothing_for(client: FrameClient, forwarded_for: &str, calls: u32) -> FrameClient {
    let mut header = b"\x00\x0fx-forwarded-for".to_vec();
    header.push(u8::try_from(forwarded_for.len()).expect("short"));
    header.extend(forwarded_for.as_bytes());
    take_nothing_as(client, &header, calls).await
}

async fn take_nothing_as(mut client: FrameClient, header: &[u8], calls: u32) -> FrameClient {
    // SETTINGS_INITIAL_WINDOW_SIZE is 0.
    client.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    let message = framed(&HugeAnswerRequest { bytes: 1 << 20 });
    let headers = [&block("/faults.v1.Faults/HugeAnswer"), header].concat();
    for call in 0..calls {
        let stream = 2 * call + 1;
        let headers = frame(HEADERS, END_HEADERS, stream, &headers);
        client
            .send(&[headers, frame(DATA, END_STREAM, stream, &message)].concat())
            .await;
    }
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_stop_further_calls() {
    let section = "[server]\nmax_response_memory_bytes = 4194304";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await;
    let raw = host.raw().await;
    let hoarder = take_nothing(FrameClient::begin(host.address).await, 8).await;
    let refusal = until_some("a refusal", async || {
        let answer = raw.unary(ECHO, &[], &EchoRequest::default()).await;
        (answer.code() != Code::Ok).then_some(answer)
    })
    .await;
    assert_eq!(
        (refusal.code(), refusal.reason().as_str()),
        (Code::Unavailable, "RESPONSE_MEMORY_FULL")
    );
    // In the words of gRPC-Web for those who speak it.
    let web = [("content-type", "application/grpc-web")];
    let answer = raw.unary(ECHO, &web, &EchoRequest::default()).await;
    assert_eq!(answer.headers["content-type"], "application/grpc-web+proto");
    assert_eq!(answer.code(), Code::Unavailable);
    // Health is the host's own.
    assert_eq!(
        host.health_of("").await,
        Some(tonic_health::pb::health_check_response::ServingStatus::Serving)
    );
    drop(hoarder);
    until_some("room", async || {
        let answer = raw.unary(ECHO, &[], &EchoRequest::default()).await;
        (answer.code() == Code::Ok).then_some(())
    })
    .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_must_be_taken_in_time() {
    let section = "[server]\nresponse_timeout_ms = 1000\nmax_connection_age_grace_s = 1";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await;
    let honest = Honest::begin(&host).await;
    let mut hoarder = take_nothing(FrameClient::begin(host.address).await, 20).await;
    assert_eq!(hoarder.end().await, Some(0), "NO_ERROR, and the end");
    host.log
        .wait_for("the reason", |line| {
            line.message() == "a connection was closed: the client did not take an answer in time"
        })
        .await;
    honest.fared_well(&host, 64 << 20).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_go_off_within_bounds() {
    let host = Setup::of(Plugin::faults(Isolation::Call)).start().await;
    let honest = Honest::begin(&host).await;
    // A thousand to one, and all of them over the limit at last.
    let bomb = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 64 << 20]).expect("it is memory");
        framed_bytes(1, &encoder.finish().expect("it is memory"))
    };
    let mut bombs = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (raw, bomb) = (host.raw().await, bomb.clone());
        bombs.spawn(async move { raw.call(ECHO, &[("grpc-encoding", "gzip")], bomb).await });
    }
    for answer in bombs.join_all().await {
        let reason = answer.reason();
        assert!(
            reason == "REQUEST_TOO_LARGE" || reason == "REQUEST_MEMORY_FULL",
            "{answer:?}"
        );
    }
    honest.fared_well(&host, 300 << 20).await;
    host.stop().await;
}
