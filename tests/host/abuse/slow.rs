//! Clients that begin and do not go on.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::frames::*;
use crate::support::pb::faults::*;
use crate::support::{Isolation, Plugin, Setup, within_patience};

use super::{ECHO, Honest};

const SOON: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_must_come_in_time() {
    let section = "[server]\nheader_timeout_ms = 300\nmax_connections = 64";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await;
    let honest = Honest::begin(&host).await;
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let headers = frame(HEADERS, END_HEADERS, 1, &block(ECHO));
    let block = block(ECHO);
    let (first, rest) = block.split_at(block.len() / 2);
    for (what, beginning) in [
        ("nothing at all", Vec::new()),
        ("half a preface", PREFACE[..12].to_vec()),
        ("a preface alone", PREFACE.to_vec()),
        ("half of SETTINGS", begin[..begin.len() - 1].to_vec()),
        ("half of a frame's head", [&begin[..], &headers[..4]].concat()),
        ("half of HEADERS", [&begin[..], &headers[..20]].concat()),
        (
            "no CONTINUATION",
            [&begin[..], &frame(HEADERS, 0, 1, first)].concat(),
        ),
        (
            "a block without an end",
            [
                &begin[..],
                &frame(HEADERS, 0, 1, first),
                &frame(CONTINUATION, 0, 1, rest),
            ]
            .concat(),
        ),
        (
            "half of PING",
            [&begin[..], &frame(PING, 0, 0, &[0; 8])[..12]].concat(),
        ),
        ("half a request line", b"POST / HT".to_vec()),
        ("half a header", b"POST / HTTP/1.1\r\nhost: local".to_vec()),
    ] {
        let mut client = TcpStream::connect(host.address).await.expect("the host listens");
        client.write_all(&beginning).await.expect("it is open");
        let mut answer = Vec::new();
        // Whether it is closed or reset does not matter.
        let _ = within_patience(what, client.read_to_end(&mut answer)).await;
    }
    // One byte after another is no better.
    let mut client = TcpStream::connect(host.address).await.expect("the host listens");
    let trickling = async {
        let block = frame(HEADERS, 0, 1, first);
        client.write_all(&[&begin[..], &block].concat()).await?;
        loop {
            client.write_all(&frame(CONTINUATION, 0, 1, &[])[..1]).await?;
            tokio::time::sleep(SOON / 10).await;
            client.write_all(&frame(CONTINUATION, 0, 1, &[])[1..]).await?;
        }
    };
    let error: std::io::Result<()> = within_patience("the end of it", trickling).await;
    assert!(error.is_err());
    honest.fared_well(&host, 64 << 20).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_may_wait_for_its_first_call() {
    let section = "[server]\nheader_timeout_ms = 100";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await;
    let raw = host.raw().await;
    tokio::time::sleep(SOON).await;
    raw.unary(ECHO, &[], &EchoRequest::default())
        .await
        .message::<EchoResponse>();
    tokio::time::sleep(SOON).await;
    raw.unary(ECHO, &[], &EchoRequest::default())
        .await
        .message::<EchoResponse>();
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_must_arrive_in_time() {
    let section = "[server]\nrequest_timeout_ms = 300";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await;
    let raw = host.raw().await;
    // Whatever deadline there is.
    for headers in [&[][..], &[("grpc-timeout", "1H")]] {
        let answer = raw.call_slowly(ECHO, headers).answer().await;
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::DeadlineExceeded, "REQUEST_TIMEOUT")
        );
    }
    // A message that is there whole, without an end of the stream.
    let mut client = FrameClient::begin(host.address).await;
    let call = frame(HEADERS, END_HEADERS, 1, &block(ECHO));
    let message = frame(DATA, 0, 1, &[0; 5]);
    client.send(&[call, message].concat()).await;
    loop {
        let frame = client.next().await.expect("an answer");
        if frame.kind == HEADERS {
            assert_eq!(frame.flags & END_STREAM, END_STREAM, "Trailers-Only");
            break;
        }
    }
    // A deadline that is earlier has its own status.
    let answer = raw.call_slowly(ECHO, &[("grpc-timeout", "10m")]).answer().await;
    assert_eq!(answer.reason(), "DEADLINE_EXCEEDED");
    // gRPC-Web over HTTP/1.1.
    let mut client = TcpStream::connect(host.address).await.expect("the host listens");
    let request = format!(
        "POST {ECHO} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc-web\r\ncontent-length: 5\r\n\r\n\0"
    );
    client.write_all(request.as_bytes()).await.expect("it is open");
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while !String::from_utf8_lossy(&answer).contains("grpc-status: 4") {
        let read = within_patience("an answer", client.read(&mut part))
            .await
            .expect("open");
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..read]);
    }
    // The time of a request ends when it is there: the call may take longer.
    let answer = raw.call(ECHO, &[], Bytes::from_static(&[0; 5])).await;
    assert_eq!(answer.code(), Code::Ok);
    let sleep = SleepRequest { milliseconds: 600 };
    let answer = raw.unary("/faults.v1.Faults/Sleep", &[], &sleep).await;
    assert_eq!(answer.code(), Code::Ok);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_slow_nobody_else() {
    let section = "[server]\nrequest_timeout_ms = 1000";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await;
    let honest = Honest::begin(&host).await;
    for _ in 0..3 {
        let mut client = FrameClient::begin(host.address).await;
        let calls: Vec<_> = (0..500).map(|call| 2 * call + 1).collect();
        for stream in &calls {
            let headers = frame(HEADERS, END_HEADERS, *stream, &block(ECHO));
            client
                .send(&[headers, frame(DATA, 0, *stream, &[0, 0, 0])].concat())
                .await;
        }
        let mut answered = 0;
        while answered < calls.len() {
            let frame = client.next().await.expect("an answer to each");
            answered += usize::from(frame.kind == HEADERS && frame.flags & END_STREAM != 0);
        }
    }
    honest.fared_well(&host, 64 << 20).await;
    host.stop().await;
}
