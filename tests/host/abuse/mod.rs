//! Clients that take what they can: floods, slowness, hoarding. The host stays small, tells them to stop in the
//! words of the protocol, and serves the others.

mod connections;
mod floods;
mod honest;
mod memory;
mod proxies;
mod shares;
mod slow;
mod unix_socket;

use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

use crate::support::Host;
use crate::support::pb::faults::*;

use honest::Honest;

const ECHO: &str = "/faults.v1.Faults/Echo";

/// A connection from this address of the loopback network.
async fn connect_from(source: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let source = format!("{source}:0").parse().expect("an address");
    socket.bind(source).expect("it is of this machine");
    socket.connect(address).await.expect("the host listens")
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
