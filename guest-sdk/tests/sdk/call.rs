use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use mortise_guest::testing::{Host, Request};
use mortise_guest::{Principal, TraceContext};

use crate::ok;

#[test]
fn a_call_tells_who_calls_and_why() {
    let mut host = Host::new();
    let trace = TraceContext {
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        tracestate: Some("vendor=1".to_owned()),
    };
    let principal = Principal {
        id: "ann".to_owned(),
        claims: vec![("role".to_owned(), "clerk".to_owned())],
    };
    let request = Request::new()
        .peer("10.0.0.1:999")
        .principal_with_claims(principal)
        .id("7f3a")
        .attempt(2)
        .trace_context(trace.clone())
        .cancelled();

    let answer = host.call(request, |call| {
        assert_eq!(call.peer(), "10.0.0.1:999");
        assert_eq!(call.peer_ip(), Some(IpAddr::from([10, 0, 0, 1])));
        let principal = call.principal().expect("the caller is known");
        assert_eq!(
            (principal.id.as_str(), principal.claim("role")),
            ("ann", Some("clerk"))
        );
        assert_eq!(principal.claim("name"), None);
        assert_eq!(call.id(), "7f3a");
        assert_eq!(call.attempt(), 2);
        assert_eq!(call.trace_context(), Some(trace));
        assert!(call.is_cancelled());
        Ok(())
    });
    answer.expect("the handler succeeds");
}

#[test]
fn a_plain_call_has_defaults() {
    let mut host = Host::new();
    ok(&mut host, |call| {
        assert_eq!(call.principal(), None);
        assert_eq!(call.trace_context(), None);
        assert_eq!(call.attempt(), 1);
        assert_eq!(call.id(), "call-1");
        assert!(!call.is_cancelled());
        Ok(())
    });
    assert_eq!(ok(&mut host, |call| Ok(call.id())), "call-2");
}

#[test]
fn ipv4_is_recognised_behind_an_ipv6_listener_and_a_socket_file_has_no_address() {
    let mut host = Host::new();
    let mut peer_ip = |peer: &str| {
        let answer = host.call(Request::new().peer(peer), |call| Ok(call.peer_ip()));
        answer.expect("the handler succeeds").message
    };
    assert_eq!(
        peer_ip("[::ffff:192.0.2.7]:80"),
        Some(IpAddr::from([192, 0, 2, 7]))
    );
    assert_eq!(
        peer_ip("[2001:db8::1]:80"),
        Some("2001:db8::1".parse().expect("an address"))
    );
    assert_eq!(peer_ip("unix:"), None);
}

#[test]
fn time_moves_only_when_told_to() {
    let start = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let mut host = Host::new().at(start);
    assert_eq!(ok(&mut host, |call| Ok(call.now())), start);
    host.advance(Duration::from_secs(5));
    let clock = host.clock();
    ok(&mut host, |call| {
        assert_eq!(call.now(), start + Duration::from_secs(5));
        clock.advance(Duration::from_millis(1));
        assert_eq!(call.now(), start + Duration::from_millis(5001));
        Ok(())
    });
}

#[test]
fn random_bytes_come_from_the_seed() {
    let draw = |seed| ok(&mut Host::new().seed(seed), |call| Ok(call.random_bytes::<20>()));
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    let mut host = Host::new();
    let (first, second) = ok(&mut host, |call| {
        Ok((call.random_bytes::<8>(), call.random_bytes::<8>()))
    });
    let third = ok(&mut host, |call| Ok(call.random_bytes::<8>()));
    assert!(first != second && second != third && first != third);
}

#[test]
#[should_panic(expected = "a call is already in progress on this thread")]
fn calls_do_not_nest() {
    let mut inner = Host::new();
    ok(&mut Host::new(), |_| Ok(ok(&mut inner, |call| Ok(call.id()))));
}

#[test]
fn a_panicking_handler_panics_the_test_and_leaves_nothing_behind() {
    let mut host = Host::new();
    let call = std::panic::AssertUnwindSafe(|| {
        ok(&mut host, |call| -> Result<(), _> {
            call.table::<u64>("numbers").put("one", &1)?;
            panic!("as the test wants it")
        })
    });
    assert!(std::panic::catch_unwind(call).is_err());
    assert_eq!(host.stored_len(), 0);
    ok(&mut host, |call| call.table::<u64>("numbers").put("one", &1));
    assert_eq!(host.stored::<u64>("numbers", "one"), Some(1));
}
