//! Connections: how many each client may have, and for how long.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::support::frames::{FrameClient, GOAWAY};
use crate::support::pb::faults::*;
use crate::support::raw::RawClient;
use crate::support::{Isolation, Plugin, Setup, until_some, within_patience};

use super::{ECHO, Honest, connect_from};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_client_has_so_many() {
    let section = "[server]\nmax_connections_per_peer = 3";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await;
    // Those that wait for the host's start are from 127.0.0.1.
    let hoarder = "127.0.0.2";
    let mut hoarded = Vec::new();
    for _ in 0..3 {
        let stream = connect_from(hoarder, host.address).await;
        hoarded.push(RawClient::over(stream, host.address).await);
    }
    for raw in &hoarded {
        raw.unary(ECHO, &[], &EchoRequest::default())
            .await
            .message::<EchoResponse>();
    }
    for _ in 0..100 {
        let mut stream = connect_from(hoarder, host.address).await;
        let mut answer = Vec::new();
        let _ = within_patience("the end", stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty(), "{answer:?}");
    }
    let refusals = host
        .log
        .all(|line| line.message().contains("max_connections_per_peer"));
    assert!((1..=60).contains(&refusals.len()), "{}", refusals.len());
    // Nobody else hears of it.
    let other = connect_from("127.0.0.3", host.address).await;
    let other = RawClient::over(other, host.address).await;
    other
        .unary(ECHO, &[], &EchoRequest::default())
        .await
        .message::<EchoResponse>();
    // Who closes one may open another.
    drop(hoarded.pop());
    until_some("a place", async || {
        let mut client = FrameClient::begin_on(connect_from(hoarder, host.address).await).await;
        client.next().await
    })
    .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_sent_away() {
    let section = "[server]\nmax_connection_idle_s = 1\nkeepalive_interval_s = 0";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await;
    let mut never_used = FrameClient::begin(host.address).await;
    let used = host.raw().await;
    used.unary(ECHO, &[], &EchoRequest::default())
        .await
        .message::<EchoResponse>();
    // A call keeps its connection, and with it a watch of the host's health.
    let busy = host.raw().await;
    let sleep = SleepRequest { milliseconds: 3000 };
    let answer = busy.unary("/faults.v1.Faults/Sleep", &[], &sleep);
    let idle = async {
        until_some("the end of a used connection", async || {
            used.is_closed().then_some(())
        })
        .await;
        let goaway = loop {
            let frame = never_used.next().await.expect("GOAWAY comes first");
            if frame.kind == GOAWAY {
                break frame;
            }
        };
        assert_eq!(goaway.payload[4..8], [0; 4], "NO_ERROR");
    };
    let (answer, ()) = tokio::join!(answer, idle);
    assert_eq!(answer.code(), tonic::Code::Ok);
    until_some("the end of the busy one, once it is idle", async || {
        busy.is_closed().then_some(())
    })
    .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_watch_keeps_its_connection() {
    let section = "[server]\nmax_connection_idle_s = 1";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await;
    let mut watch = host
        .health()
        .watch(tonic_health::pb::HealthCheckRequest {
            service: String::new(),
        })
        .await
        .expect("it is watched")
        .into_inner();
    within_patience("its state", watch.message())
        .await
        .expect("a stream")
        .expect("a message");
    // As long as two connections after one another are idle.
    for _ in 0..2 {
        let idle = host.raw().await;
        until_some("the end", async || idle.is_closed().then_some(())).await;
    }
    let nothing = tokio::time::timeout(Duration::from_millis(10), watch.message()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hoarded_connections_leave_the_others_alone() {
    let section = "[server]\nmax_connections_per_peer = 200\nheader_timeout_ms = 500";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await;
    let honest = Honest::begin(&host).await;
    for _ in 0..10 {
        let mut hoarded = Vec::new();
        for _ in 0..200 {
            hoarded.push(connect_from("127.0.0.2", host.address).await);
        }
        for mut stream in hoarded {
            let mut answer = Vec::new();
            let _ = within_patience("the end", stream.read_to_end(&mut answer)).await;
        }
    }
    honest.fared_well(&host, 64 << 20).await;
    host.stop().await;
}
