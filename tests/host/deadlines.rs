//! From `grpc-timeout` to what the guest reads, and to the end of the call.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::in_both_modes;
use crate::orders::order;
use crate::support::pb::faults::*;
use crate::support::pb::order::{GetOrderRequest, OrderResponse};
use crate::support::{Isolation, Plugin, Setup};

in_both_modes!(
    guests_see_the_deadline,
    the_operator_bounds_deadlines,
    malformed_timeouts_are_refused,
    the_server_ends_what_is_late,
    too_little_time_is_refused_by_the_order_service,
);

const ECHO: &str = "/faults.v1.Faults/Echo";
const SECOND: u64 = 1_000_000_000;
const YEAR: u64 = 365 * 86_400 * SECOND;

async fn guests_see_the_deadline(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    let echo = async |headers: &[(&str, &str)]| {
        raw.unary(ECHO, headers, &EchoRequest::default())
            .await
            .message::<EchoResponse>()
    };

    let seen = echo(&[("grpc-timeout", "100S")]).await;
    let (remaining, deadline) = (
        seen.remaining.expect("time left"),
        seen.deadline.expect("a deadline"),
    );
    assert!(remaining > 0 && remaining <= 100 * SECOND, "{remaining}");
    // Both were read within one call.
    assert!(
        (deadline - seen.now).abs_diff(remaining) < 50 * SECOND,
        "{seen:?}"
    );
    assert!(!seen.cancelled);

    let seen = echo(&[]).await;
    assert_eq!((seen.remaining, seen.deadline), (None, None));

    // `timeout=time.time() + 5`, in the units that clients choose for it.
    for timeout in ["28928160M", "482136H"] {
        let remaining = echo(&[("grpc-timeout", timeout)])
            .await
            .remaining
            .expect("time left");
        assert!(
            (54 * YEAR..56 * YEAR).contains(&remaining),
            "{timeout}: {remaining}"
        );
    }
    let mut request = tonic::Request::new(EchoRequest::default());
    request.set_timeout(Duration::from_secs(1_735_689_605));
    let remaining = host
        .faults()
        .echo(request)
        .await
        .expect("answered")
        .into_inner()
        .remaining;
    assert!(
        remaining.is_some_and(|remaining| remaining > 54 * YEAR),
        "{remaining:?}"
    );

    // Eleven thousand years are as good as none.
    raw.unary(ECHO, &[("grpc-timeout", "99999999H")], &EchoRequest::default())
        .await
        .message::<EchoResponse>();
    host.stop().await;
}

async fn the_operator_bounds_deadlines(isolation: Isolation) {
    let bounds = "[server]\ndefault_deadline_ms = 50000\nmax_deadline_ms = 100000";
    let host = Setup::of(Plugin::faults(isolation)).with(bounds).start().await;
    let raw = host.raw().await;
    for (headers, most) in [
        (&[][..], 50),
        (&[("grpc-timeout", "1H")][..], 100),
        (&[("grpc-timeout", "28928160M")][..], 100),
        (&[("grpc-timeout", "20S")][..], 20),
    ] {
        let seen = raw
            .unary(ECHO, headers, &EchoRequest::default())
            .await
            .message::<EchoResponse>();
        let remaining = seen.remaining.expect("time left");
        assert!(
            remaining <= most * SECOND && remaining > (most - 19) * SECOND,
            "{headers:?}: {remaining}"
        );
    }
    host.stop().await;
}

async fn malformed_timeouts_are_refused(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    for timeout in [
        "",
        "S",
        "5",
        "5s",
        "-5S",
        "+5S",
        "5 S",
        "1.5S",
        "123456789S",
        "5SS",
        "∞S",
    ] {
        let answer = raw
            .unary(ECHO, &[("grpc-timeout", timeout)], &EchoRequest::default())
            .await;
        assert_eq!(answer.code(), Code::InvalidArgument, "{timeout:?}");
        assert_eq!(answer.reason(), "MALFORMED_TIMEOUT", "{timeout:?}");
    }
    let twice = [("grpc-timeout", "5S"), ("grpc-timeout", "6S")];
    assert_eq!(
        raw.unary(ECHO, &twice, &EchoRequest::default()).await.reason(),
        "MALFORMED_TIMEOUT"
    );
    host.stop().await;
}

async fn the_server_ends_what_is_late(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    let expect_late = |answer: crate::support::raw::RawAnswer| {
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
        );
    };
    expect_late(
        raw.unary(ECHO, &[("grpc-timeout", "0n")], &EchoRequest::default())
            .await,
    );

    let timeout = [("grpc-timeout", "300m")];
    let began = Instant::now();
    let hour = SleepRequest {
        milliseconds: 3_600_000,
    };
    expect_late(raw.unary("/faults.v1.Faults/Sleep", &timeout, &hour).await);
    assert!(began.elapsed() >= Duration::from_millis(300));
    // A request whose body never comes.
    expect_late(raw.call_slowly(ECHO, &timeout).answer().await);
    host.stop().await;
}

async fn too_little_time_is_refused_by_the_order_service(isolation: Isolation) {
    let host = Setup::of(Plugin::order(isolation).config("min_remaining_ms", 30_000))
        .start()
        .await;
    let raw = host.raw().await;
    let path = "/order.v1.OrderService/CreateOrder";
    let answer = raw.unary(path, &[("grpc-timeout", "29S")], &order("late")).await;
    let status = answer.status();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.message(), "Insufficient time to process order");
    let found = host
        .orders()
        .get_order(GetOrderRequest { id: "late".into() })
        .await;
    assert_eq!(found.expect_err("nothing was stored").code(), Code::NotFound);
    raw.unary(path, &[("grpc-timeout", "28928160M")], &order("early"))
        .await
        .message::<OrderResponse>();
    host.stop().await;
}
