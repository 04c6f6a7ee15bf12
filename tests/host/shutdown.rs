//! SIGTERM and Ctrl-C.

use bytes::Bytes;
use rustix::process::Signal;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::admission::{occupy, occupy_for_ever};
use crate::in_both_modes;
use crate::orders::order;
use crate::own_services::{CHECK, REFLECT};
use crate::support::log::Line;
use crate::support::pb::faults::*;
use crate::support::raw::framed;
use crate::support::{Isolation, Plugin, Setup, reason, until_some, within_patience};

in_both_modes!(
    calls_in_flight_finish,
    the_drain_timeout_cuts_calls_off,
    a_second_signal_ends_at_once,
);

/// One call of the plugin of faults at a time, so that a refused one proves that another is running.
fn one_at_a_time(isolation: Isolation, server: &str) -> Setup {
    let faults = Plugin::faults(isolation).key("max_concurrent_calls", 1);
    Setup::of(faults).with(&format!("[server]\nmax_queued_calls = 0\n{server}"))
}

async fn calls_in_flight_finish(isolation: Isolation) {
    let host = one_at_a_time(isolation, "")
        .and(Plugin::order(isolation))
        .start()
        .await;
    let mut health = host.health();
    let service = "faults.v1.Faults".to_owned();
    let watch = health
        .watch(HealthCheckRequest { service })
        .await
        .expect("health is watched");
    let mut watch = watch.into_inner();
    let status = watch.next().await.expect("a status").expect("a status");
    assert_eq!(status.status(), ServingStatus::Serving);

    let slow = occupy(
        &host,
        "/faults.v1.Faults/Sleep",
        SleepRequest { milliseconds: 2000 },
    )
    .await;
    let load: Vec<_> = (0..4)
        .map(|client| {
            let mut orders = host.orders();
            tokio::spawn(async move {
                let mut placed = 0;
                while orders
                    .create_order(order(&format!("{client}-{placed}")))
                    .await
                    .is_ok()
                {
                    placed += 1;
                }
                placed
            })
        })
        .collect();
    until_some("orders", async || {
        let request = crate::support::pb::order::GetOrderRequest { id: "0-0".into() };
        host.orders().get_order(request).await.ok()
    })
    .await;

    host.signal(Signal::TERM);
    let status = within_patience("a change of health", watch.next())
        .await
        .expect("a status")
        .expect("a status");
    assert_eq!(status.status(), ServingStatus::NotServing);
    let slept = slow.await.expect("no panic").message::<SleepResponse>().slept;
    assert!(slept >= 2000, "{slept}");
    let log = host.log.clone();
    assert_eq!(host.exit().await.code(), Some(0), "{}", log.text());
    for client in load {
        assert!(client.await.expect("no panic") > 0);
    }
    // `occupy` asked until it was refused; nothing else failed.
    let failed = |line: &Line| line.level() == "ERROR" && line.field("reason") != "OVERLOADED";
    assert!(log.all(failed).is_empty(), "{}", log.text());
}

/// Whatever a call waits for: its message, its place, or its handler, which waits or computes.
async fn the_drain_timeout_cuts_calls_off(isolation: Isolation) {
    let faults = Plugin::faults(isolation).key("max_concurrent_calls", 2);
    let host = Setup::of(faults)
        .with("[server]\ndrain_timeout_ms = 200\nrequest_timeout_ms = 3600000")
        .start()
        .await;
    let raw = host.raw().await;
    let unfinished = raw.call_slowly("/faults.v1.Faults/Echo", &[]);
    // The second part is taken when the first one was sent, and that comes after the headers.
    for _ in 0..2 {
        unfinished.send(Bytes::from_static(b"\0")).await;
    }
    let call = |path: &'static str, message: Bytes| {
        let raw = raw.clone();
        tokio::spawn(async move { raw.call(path, &[], message).await })
    };
    let milliseconds = 3_600_000;
    let sleeping = call("/faults.v1.Faults/Sleep", framed(&SleepRequest { milliseconds }));
    let computing = call("/faults.v1.Faults/Loop", framed(&LoopRequest {}));
    host.until_metric("both run", "mortise_sandboxes", 2.0).await;
    let queued = call("/faults.v1.Faults/Count", framed(&CountRequest {}));
    host.until_metric("the third waits", "mortise_queue_length", 1.0)
        .await;

    host.signal(Signal::TERM);
    let log = host.log.clone();
    let mut ended = vec![unfinished.answer().await];
    for call in [sleeping, computing, queued] {
        ended.push(call.await.expect("no panic"));
    }
    for answer in ended {
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::Unavailable, "SHUTTING_DOWN"),
            "{answer:?}"
        );
    }
    assert_eq!(host.exit().await.code(), Some(0), "{}", log.text());
    let cut_off = |line: &Line| line.message().contains("calls in flight are cut off");
    assert_eq!(log.all(cut_off).len(), 1);
    assert!(
        log.all(|line| line.level() == "ERROR").is_empty(),
        "{}",
        log.text()
    );
}

async fn a_second_signal_ends_at_once(isolation: Isolation) {
    for signal in [Signal::TERM, Signal::INT] {
        let host = one_at_a_time(isolation, "drain_timeout_ms = 3600000")
            .start()
            .await;
        let call = occupy_for_ever(&host).await;
        host.signal(signal);
        host.log
            .wait_for("draining", |line| line.message().starts_with("draining"))
            .await;
        host.signal(signal);
        assert_eq!(host.exit().await.code(), Some(143));
        assert!(call.await.is_err(), "the answer never came");
    }
}

#[tokio::test]
async fn calls_are_served_while_load_balancers_take_notice() {
    let delay = "[server]\ndrain_delay_ms = 600000";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(delay)
        .start()
        .await;
    host.signal(Signal::INT);
    host.wait_until("faults.v1.Faults", ServingStatus::NotServing)
        .await;
    host.wait_until("", ServingStatus::NotServing).await;
    host.faults().count(CountRequest {}).await.expect("still served");
    host.signal(Signal::INT);
    assert_eq!(host.exit().await.code(), Some(143));
}

/// Clients watch health and hold reflection open for as long as they are connected: that must not keep a
/// host from ending.
#[tokio::test]
async fn idle_connections_and_watches_do_not_hold_up_the_end() {
    let timeout = "[server]\ndrain_timeout_ms = 3600000";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(timeout)
        .start()
        .await;
    let _idle = host.raw().await;
    let mut watch = host
        .health()
        .watch(HealthCheckRequest::default())
        .await
        .expect("watched")
        .into_inner();
    watch.next().await.expect("a status").expect("a status");
    let reflection = crate::reflection::held_open(&host).await;
    host.stop().await;
    drop(reflection);
}

/// Nor is a check waited for whose message may never come.
#[tokio::test]
async fn what_is_open_at_the_hosts_own_services_ends_with_a_reason() {
    let timeout = "[server]\ndrain_timeout_ms = 3600000\nrequest_timeout_ms = 3600000";
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(timeout)
        .start()
        .await;
    let raw = host.raw().await;
    let mut open = Vec::new();
    for path in [CHECK, REFLECT] {
        let call = raw.call_slowly(path, &[]);
        // The second part is taken when the first one was sent, and that comes after the headers.
        for _ in 0..2 {
            call.send(Bytes::from_static(b"\0")).await;
        }
        open.push(call);
    }
    let mut watch = host
        .health()
        .watch(HealthCheckRequest::default())
        .await
        .expect("watched")
        .into_inner();
    watch.next().await.expect("a status").expect("a status");
    // What was sent before on this connection is there.
    raw.unary(CHECK, &[], &HealthCheckRequest::default())
        .await
        .message::<HealthCheckResponse>();

    host.signal(Signal::TERM);
    for call in open {
        let answer = call.answer().await;
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::Unavailable, "SHUTTING_DOWN"),
            "{answer:?}"
        );
    }
    let status = watch.next().await.expect("a status").expect("a status");
    assert_eq!(status.status(), ServingStatus::NotServing);
    let end = watch.next().await.expect("a status").expect_err("the end");
    assert_eq!(
        (end.code(), reason(&end).as_str()),
        (Code::Unavailable, "SHUTTING_DOWN")
    );
    let log = host.log.clone();
    assert_eq!(host.exit().await.code(), Some(0), "{}", log.text());
    assert!(!log.text().contains("cut off"), "{}", log.text());
}

#[tokio::test]
async fn a_draining_host_accepts_no_connections() {
    let host = one_at_a_time(Isolation::Call, "drain_timeout_ms = 3600000")
        .start()
        .await;
    let call = occupy_for_ever(&host).await;
    host.signal(Signal::TERM);
    until_some("a refused connection", async || {
        tokio::net::TcpStream::connect(host.address).await.err()
    })
    .await;
    host.signal(Signal::TERM);
    assert_eq!(host.exit().await.code(), Some(143));
    call.abort();
}

#[tokio::test]
async fn a_connection_that_reaches_its_age_finishes_its_calls() {
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with("[server]\nmax_connection_age_s = 1")
        .start()
        .await;
    let raw = host.raw().await;
    let request = SleepRequest { milliseconds: 2500 };
    let slept = raw
        .unary("/faults.v1.Faults/Sleep", &[], &request)
        .await
        .message::<SleepResponse>();
    assert!(slept.slept >= 2500, "{slept:?}");
    until_some("the end of the connection", async || {
        raw.is_closed().then_some(())
    })
    .await;
    host.stop().await;
}
