//! Proxies that say for whom they connect.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::pb::faults::*;
use crate::support::raw::RawClient;
use crate::support::{Host, Isolation, Plugin, Setup, http1, until_some, within_patience};

use super::ECHO;

async fn start(section: &str) -> Host {
    Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start_without_asking()
        .await
}

/// The caller as the plugin sees it.
async fn peer(raw: &RawClient, headers: &[(&str, &str)]) -> String {
    let answer = raw.unary(ECHO, headers, &EchoRequest::default()).await;
    answer.message::<EchoResponse>().peer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_forwards_for_its_clients() {
    let host = start("[server]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]").await;
    let raw = host.raw().await;
    let direct = peer(&raw, &[]).await;
    assert!(direct.starts_with("127.0.0.1:"), "{direct}");
    for (list, expected) in [
        ("192.0.2.7", "192.0.2.7:0"),
        ("198.51.100.1, 192.0.2.7, 10.1.2.3", "192.0.2.7:0"),
        ("2001:db8::7", "[2001:db8::7]:0"),
    ] {
        assert_eq!(peer(&raw, &[("x-forwarded-for", list)]).await, expected);
    }
    assert_eq!(peer(&raw, &[]).await, direct, "each request has its own");
    // gRPC-Web too.
    let headers = [
        ("content-type", "application/grpc-web"),
        ("x-forwarded-for", "192.0.2.7"),
    ];
    let empty = &[0; 5][..];
    let answer = http1::send(host.address, http::Method::POST, ECHO, &headers, empty).await;
    let text = String::from_utf8_lossy(&answer.data).into_owned();
    assert!(text.contains("192.0.2.7:0"), "{text}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_say_about_themselves_is_ignored() {
    let host = start("[server]\ntrusted_proxies = [\"10.0.0.0/8\"]").await;
    let seen = peer(&host.raw().await, &[("x-forwarded-for", "192.0.2.7")]).await;
    assert!(seen.starts_with("127.0.0.1:"), "{seen}");
    host.stop().await;

    let section = "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\nclient_address_from = \"proxy-protocol\"";
    let host = start(section).await;
    let seen = peer(&host.raw().await, &[]).await;
    assert!(seen.starts_with("127.0.0.1:"), "{seen}");
    // It is no HTTP.
    let mut stream = through_proxy(&host, b"PROXY TCP4 192.0.2.7 10.0.0.9 8080 80\r\n").await;
    let mut answer = String::new();
    within_patience("the end", stream.read_to_string(&mut answer))
        .await
        .expect("text");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    host.stop().await;
}

async fn through_proxy(host: &Host, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(host.address).await.expect("the host listens");
    stream.write_all(header).await.expect("it is open");
    stream
}

/// Version 2 of the header, for a client with this address.
fn version_2(client: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(client) = client else {
        panic!("the test has IPv4 clients");
    };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client.ip().octets());
    header.extend([10, 0, 0, 9]);
    header.extend(client.port().to_be_bytes());
    header.extend([0, 80]);
    header
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_header_names_the_client_and_limits_count_it() {
    let section = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\nclient_address_from = \"proxy-protocol\"\n\
                   max_connections_per_peer = 2\nheader_timeout_ms = 500";
    let host = start(section).await;
    let client: SocketAddr = "192.0.2.7:4711".parse().expect("an address");
    let mut open = Vec::new();
    for header in [
        version_2(client),
        b"PROXY TCP4 192.0.2.7 10.0.0.9 4711 80\r\n".to_vec(),
    ] {
        let raw = RawClient::over(through_proxy(&host, &header).await, host.address).await;
        assert_eq!(peer(&raw, &[]).await, "192.0.2.7:4711");
        // There is one way to say it.
        let forwarded = [("x-forwarded-for", "198.51.100.1")];
        assert_eq!(peer(&raw, &forwarded).await, "192.0.2.7:4711");
        open.push(raw);
    }
    // A third from there is one too many, one from elsewhere is not.
    let mut stream = through_proxy(&host, &version_2(client)).await;
    let mut answer = Vec::new();
    let _ = within_patience("the end", stream.read_to_end(&mut answer)).await;
    assert!(answer.is_empty(), "{answer:?}");
    let other = version_2("192.0.2.8:1".parse().expect("an address"));
    let raw = RawClient::over(through_proxy(&host, &other).await, host.address).await;
    assert_eq!(peer(&raw, &[]).await, "192.0.2.8:1");
    drop(open.pop());
    until_some("a place", async || {
        let mut stream = through_proxy(&host, &version_2(client)).await;
        stream.write_all(crate::support::frames::PREFACE).await.ok()?;
        stream.read_u8().await.ok()
    })
    .await;
    // The proxy itself may look whether the host is well, as often as it likes.
    for _ in 0..10 {
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        let raw = RawClient::over(through_proxy(&host, local).await, host.address).await;
        assert!(peer(&raw, &[]).await.starts_with("127.0.0.1:"));
        open.push(raw);
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_without_a_header_is_closed() {
    let section = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\nclient_address_from = \"proxy-protocol\"\n\
                   header_timeout_ms = 300";
    let host = start(section).await;
    for header in [
        &b""[..],
        b"\r\n\r\n\0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 nowhere 10.0.0.9 4711 80\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        let mut stream = through_proxy(&host, header).await;
        let mut answer = Vec::new();
        let _ = within_patience("the end", stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty(), "{answer:?}");
    }
    host.log
        .wait_for("the reason", |line| {
            line.level() == "WARN"
                && line
                    .message()
                    .ends_with("a trusted proxy did not begin with a PROXY header")
        })
        .await;
    host.stop().await;
}
