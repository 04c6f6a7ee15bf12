//! A Unix-domain socket to listen on.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use tokio::net::UnixStream;

use crate::support::pb::faults::*;
use crate::support::raw::RawClient;
use crate::support::{Isolation, Plugin, Setup};

use super::ECHO;

fn setup(section: &str) -> Setup {
    Setup::of(Plugin::faults(Isolation::Call)).with(section)
}

async fn peer(socket: &Path, headers: &[(&str, &str)]) -> String {
    let stream = UnixStream::connect(socket).await.expect("the host listens");
    let anywhere = "127.0.0.1:1".parse().expect("an address");
    let raw = RawClient::over(stream, anywhere).await;
    let answer = raw.unary(ECHO, headers, &EchoRequest::default()).await;
    answer.message::<EchoResponse>().peer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_beside_the_network_with_its_own_permissions() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("mortise.sock");
    let section = format!(
        "[server]\nunix_socket = {socket:?}\nunix_socket_mode = \"0620\"\nmax_connections_per_peer = 1"
    );
    let host = setup(&section).start_without_asking().await;
    let metadata = fs::metadata(&socket).expect("it is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o620);
    // All its clients are one machine, which is not counted.
    for _ in 0..3 {
        assert_eq!(peer(&socket, &[("x-forwarded-for", "192.0.2.7")]).await, "unix:");
    }
    host.raw()
        .await
        .unary(ECHO, &[], &EchoRequest::default())
        .await
        .message::<EchoResponse>();
    // Another host does not take it away.
    let ended = setup(&section).run().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("mortise.sock is in use"),
        "{}",
        ended.stderr
    );
    assert_eq!(peer(&socket, &[]).await, "unix:");
    host.stop().await;
    assert!(!socket.exists(), "a host takes its socket with it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("mortise.sock");
    let section = format!("[server]\nunix_socket = {socket:?}\ntrusted_proxies = [\"unix\"]");
    let host = setup(&section).start_without_asking().await;
    host.kill().await;
    assert!(socket.exists());
    let host = setup(&section).start_without_asking().await;
    // The socket of a proxy that is trusted.
    let forwarded = [("x-forwarded-for", "192.0.2.7")];
    assert_eq!(peer(&socket, &forwarded).await, "192.0.2.7:0");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_somebody_elses_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("mortise.sock");
    let section = format!("[server]\nunix_socket = {socket:?}");
    let theirs = UnixListener::bind(&socket).expect("it is free");
    let ended = setup(&section).run().await;
    assert!(
        ended.stderr.contains("mortise.sock is in use"),
        "{}",
        ended.stderr
    );
    drop(theirs);
    fs::remove_file(&socket).expect("it is there");
    fs::write(&socket, "precious").expect("it is free");
    let ended = setup(&section).run().await;
    assert!(ended.stderr.contains("is no socket"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&socket).expect("it is there"), "precious");
    fs::remove_file(&socket).expect("it is there");
    let nowhere = folder.path().join("gone/mortise.sock");
    let ended = setup(&format!("[server]\nunix_socket = {nowhere:?}")).run().await;
    assert!(ended.stderr.contains("cannot listen on"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_all_that_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("mortise.sock");
    let section = format!("[server]\nlisten_tcp = false\nunix_socket = {socket:?}");
    let host = setup(&section).start_without_asking().await;
    assert_eq!(peer(&socket, &[]).await, "unix:");
    host.stop().await;
    let ended = setup("[server]\nlisten_tcp = false").run().await;
    assert_eq!(ended.code, Some(3));
    assert!(
        ended
            .stderr
            .contains("server.listen_tcp: is false and server.unix_socket is not set"),
        "{}",
        ended.stderr
    );
}
