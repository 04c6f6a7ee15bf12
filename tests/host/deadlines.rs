//! From `grpc-timeout` to what the guest reads, and to the end of the call.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::in_both_modes;
use crate::orders::order;
use crate::support::pb::caller::AskBackendRequest;
use crate::support::pb::faults::*;
use crate::support::pb::order::{GetOrderRequest, OrderResponse};
use crate::support::raw::framed;
use crate::support::{Backend, Isolation, Plugin, Setup};

in_both_modes!(
    guests_see_the_deadline,
    the_operator_bounds_deadlines,
    the_operator_bounds_services_and_methods,
    malformed_timeouts_are_refused,
    the_server_ends_what_is_late,
    what_has_expired_never_starts,
    expiry_is_prompt,
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

async fn the_operator_bounds_services_and_methods(isolation: Isolation) {
    let bounds = "[server]\ndefault_deadline_ms = 500000\n\
                  [methods.\"faults.v1.Faults\"]\nmax_deadline_ms = 100000\n\
                  [methods.\"faults.v1.Faults/Echo\"]\ndefault_deadline_ms = 30000\n\
                  [methods.\"faults.v1.Faults/Eco\"]\nmax_deadline_ms = 1\n\
                  [methods.\"order.v1.Orders\"]\nmax_deadline_ms = 1";
    let host = Setup::of(Plugin::faults(isolation)).with(bounds).start().await;
    let raw = host.raw().await;
    for (method, headers, most) in [
        ("Echo", &[][..], 30),
        ("Echo", &[("grpc-timeout", "1H")][..], 100),
        ("EchoRead", &[][..], 100),
    ] {
        let path = format!("/faults.v1.Faults/{method}");
        let seen = raw.unary(&path, headers, &EchoRequest::default()).await;
        let remaining = seen.message::<EchoResponse>().remaining.expect("time left");
        assert!(
            remaining <= most * SECOND && remaining > (most - 19) * SECOND,
            "{method} {headers:?}: {remaining}"
        );
    }
    // Names that nobody serves are mistakes, or plugins that are yet to come.
    for name in ["faults.v1.Faults/Eco", "order.v1.Orders"] {
        let warning =
            |line: &crate::support::log::Line| line.level() == "WARN" && line.field("methods") == name;
        host.log.wait_for("a warning", warning).await;
    }
    let warnings = host.log.all(|line| !line.field("methods").is_null());
    assert_eq!(warnings.len(), 2, "{warnings:?}");
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

/// The guest leaves no trace: it would have logged.
async fn what_has_expired_never_starts(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    let log = |text: &str| LogRequest {
        lines: 1,
        text: text.into(),
    };
    for timeout in ["0n", "0H", "1n"] {
        let answer = raw
            .unary(
                "/faults.v1.Faults/Log",
                &[("grpc-timeout", timeout)],
                &log("late"),
            )
            .await;
        assert_eq!(answer.reason(), "DEADLINE_EXCEEDED", "{timeout}");
    }
    raw.unary("/faults.v1.Faults/Log", &[], &log("in time"))
        .await
        .message::<LogResponse>();
    let line = |text: &'static str| move |line: &crate::support::log::Line| line.text.contains(text);
    host.log.wait_for("the guest's line", line("in time")).await;
    assert!(host.log.all(line("late")).is_empty(), "{}", host.log.text());
    host.stop().await;
}

/// Prints how late the status arrives: `cargo test --test host expiry_is_prompt -- --nocapture`, on an idle
/// machine. What it asserts holds on a busy one too.
async fn expiry_is_prompt(isolation: Isolation) {
    const ROUNDS: usize = 20;
    const TIMEOUT: Duration = Duration::from_millis(50);
    let silent = Backend::new(|_, _| std::future::pending()).await;
    let host = Setup::of(Plugin::faults(isolation))
        .and(Plugin::caller(isolation))
        .with(&silent.section("backend", ""))
        .with(&silent.section("other", ""))
        .start()
        .await;
    let raw = host.raw().await;
    let hour = 3_600_000;
    let sleep = framed(&SleepRequest { milliseconds: hour });
    let compute = framed(&SpinRequest {
        milliseconds: hour,
        rounds: 0,
    });
    let ask = framed(&AskBackendRequest::default());
    for (guest, path, request) in [
        ("sleeps in an import", "/faults.v1.Faults/Sleep", sleep),
        ("waits for an upstream", "/caller.v1.Caller/Ask", ask),
        ("loops", "/faults.v1.Faults/Loop", framed(&LoopRequest {})),
        ("computes and reads the clock", "/faults.v1.Faults/Spin", compute),
    ] {
        let mut late = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let answer = raw.call(path, &[("grpc-timeout", "50m")], request.clone()).await;
            late.push(began.elapsed().saturating_sub(TIMEOUT));
            assert_eq!(answer.reason(), "DEADLINE_EXCEEDED", "{guest}");
        }
        late.sort_unstable();
        let (median, worst) = (late[ROUNDS / 2], late[ROUNDS - 1]);
        println!("{isolation:?}: guest {guest}: late by {median:?} (median), {worst:?} (worst of {ROUNDS})");
        assert!(late[0] < Duration::from_secs(1), "{guest}: {late:?}");
    }
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
