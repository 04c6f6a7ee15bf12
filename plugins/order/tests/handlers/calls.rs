//! What every call goes through: metadata, deadline, rate limit, identity, log.

use std::time::Duration;

use mortise_guest::testing::{LogLevel, Request};
use mortise_guest::{Code, details};

use crate::shop::{an_order, anonymous, by, create, get, list, pay, placed, refused, shop};
use order::pb::ListOrdersRequest;

#[test]
fn answers_carry_version_region_request_id_and_time() {
    let mut host = shop().config("region", "eu-west");
    let request = anonymous().metadata("x-request-id", "req-1");
    let answer = create(&mut host, request, an_order()).expect("valid");
    assert_eq!(
        answer.headers.get("server-version"),
        Some(env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(answer.headers.get("region"), Some("eu-west"));
    assert_eq!(answer.headers.get("x-request-id"), Some("req-1"));
    assert_eq!(answer.trailers.get("processing-time-ms"), Some("0"));
}

#[test]
fn refusals_carry_them_too() {
    let mut host = shop().config("region", "eu-west").config("rate_limit", "1/1h");
    for code in [Code::NotFound, Code::ResourceExhausted] {
        let request = anonymous().metadata("x-request-id", "req-1");
        let failure = refused(get(&mut host, request, "ORD-NONE"), code);
        assert_eq!(
            failure.headers.get("server-version"),
            Some(env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(failure.headers.get("region"), Some("eu-west"));
        assert_eq!(failure.headers.get("x-request-id"), Some("req-1"));
        assert_eq!(failure.trailers.get("processing-time-ms"), Some("0"));
    }
}

#[test]
fn nothing_is_made_up_where_nothing_was_set() {
    let answer = create(&mut shop(), anonymous(), an_order()).expect("valid");
    assert_eq!(answer.headers.get("region"), None);
    assert_eq!(answer.headers.get("x-request-id"), None);
}

#[test]
fn a_placed_and_a_changed_order_are_logged() {
    let mut host = shop();
    let id = placed(&mut host, anonymous(), an_order());
    pay(&mut host, anonymous(), &id, None).expect("confirmed");
    let lines: Vec<_> = host
        .logs()
        .iter()
        .map(|line| (line.level, line.message.as_str(), line.field("order_id")))
        .collect();
    let id = Some(id.as_str());
    assert_eq!(
        lines,
        [
            (LogLevel::Info, "order created", id),
            (LogLevel::Info, "order changed", id)
        ]
    );
}

#[test]
fn an_over_long_request_id_is_refused() {
    let request = anonymous().metadata("x-request-id", &"r".repeat(257));
    refused(create(&mut shop(), request, an_order()), Code::InvalidArgument);
    let request = anonymous().metadata("x-request-id", &"r".repeat(256));
    create(&mut shop(), request, an_order()).expect("at the limit");
}

#[test]
fn a_call_with_too_little_time_left_is_refused_and_stores_nothing() {
    let mut host = shop();
    let request = anonymous().timeout(Duration::from_millis(499));
    let failure = refused(create(&mut host, request, an_order()), Code::DeadlineExceeded);
    assert_eq!(failure.status.message(), "Insufficient time to process order");
    assert_eq!(host.stored_len(), 0);
    create(
        &mut host,
        anonymous().timeout(Duration::from_millis(500)),
        an_order(),
    )
    .expect("enough");
    create(&mut host, anonymous(), an_order()).expect("no deadline");
}

#[test]
fn the_least_time_left_is_the_operators_choice() {
    let mut host = shop().config("min_remaining_ms", 2_000);
    let request = || anonymous().timeout(Duration::from_millis(1_999));
    refused(create(&mut host, request(), an_order()), Code::DeadlineExceeded);
    refused(
        list(&mut host, request(), ListOrdersRequest::default()),
        Code::DeadlineExceeded,
    );
    let mut host = shop().config("min_remaining_ms", 0);
    create(
        &mut host,
        anonymous().timeout(Duration::from_millis(1)),
        an_order(),
    )
    .expect("enough");
}

#[test]
fn a_client_over_its_rate_is_told_when_to_come_back() {
    let mut host = shop().config("rate_limit", "2/4s");
    placed(&mut host, anonymous(), an_order());
    // A refused call counts as well.
    refused(get(&mut host, anonymous(), "ORD-NONE"), Code::NotFound);
    let failure = refused(
        create(&mut host, anonymous(), an_order()),
        Code::ResourceExhausted,
    );
    assert_eq!(failure.status.message(), "Rate limit exceeded; retry after 2s");
    let retry: details::RetryInfo = failure.status.detail().expect("RetryInfo");
    assert_eq!(
        retry.retry_delay.map(|delay| (delay.seconds, delay.nanos)),
        Some((2, 0))
    );

    host.advance(Duration::from_secs(2));
    placed(&mut host, anonymous(), an_order());
    refused(
        create(&mut host, anonymous(), an_order()),
        Code::ResourceExhausted,
    );
}

#[test]
fn the_rate_is_counted_by_client_address() {
    let mut host = shop().config("rate_limit", "1/1h");
    let mut allowed = |peer: &str| create(&mut host, Request::new().peer(peer), an_order()).is_ok();
    assert!(allowed("10.0.0.1:1000"));
    assert!(!allowed("10.0.0.1:2000"), "another port");
    assert!(
        !allowed("[::ffff:10.0.0.1]:1000"),
        "the same address as IPv6 writes it"
    );
    assert!(allowed("10.0.0.2:1000"));
    assert!(allowed("[2001:db8:0:1::1]:1000"));
    assert!(!allowed("[2001:db8:0:1::2]:1000"), "the same /64 network");
    assert!(allowed("[2001:db8:0:2::1]:1000"));
    assert!(allowed("unix:"));
    assert!(!allowed("unix:"));
}

#[test]
fn there_is_no_rate_limit_unless_configured() {
    let mut host = shop();
    for _ in 0..1000 {
        placed(&mut host, anonymous(), an_order());
    }
}

#[test]
fn an_identity_may_be_required() {
    let mut host = shop().config("require_identity", true);
    let failure = refused(create(&mut host, anonymous(), an_order()), Code::Unauthenticated);
    assert_eq!(failure.status.message(), "This service requires an identity");
    refused(create(&mut host, by(""), an_order()), Code::Unauthenticated);
    refused(
        list(&mut host, anonymous(), ListOrdersRequest::default()),
        Code::Unauthenticated,
    );
    assert_eq!(host.stored_len(), 0);
    placed(&mut host, by("ann"), an_order());
    placed(&mut host, anonymous().principal("ann"), an_order());
}

#[test]
fn an_over_long_identity_is_refused() {
    let mut host = shop();
    for caller in [by(&"x".repeat(257)), anonymous().principal(&"x".repeat(257))] {
        refused(create(&mut host, caller, an_order()), Code::InvalidArgument);
    }
    placed(&mut host, by(&"x".repeat(256)), an_order());
}
