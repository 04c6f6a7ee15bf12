//! What a handler reads of its call, natively and in the component: what the test says.

use std::time::{Duration, UNIX_EPOCH};

use faults::Faults;
use faults::pb::{self, Faults as _};
use mortise_guest::testing::{Host, Request};
use mortise_guest::{Principal, TraceContext};

const NOW: Duration = Duration::from_nanos(1_800_000_000_000_000_007);

#[test]
fn the_call_is_as_the_test_makes_it() {
    let mut host = Host::new().at(UNIX_EPOCH + NOW);
    let ann = Principal {
        id: "ann".to_owned(),
        claims: vec![("team".to_owned(), "tea".to_owned())],
    };
    let trace = TraceContext {
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        tracestate: None,
    };
    let request = Request::new()
        .metadata("user-id", "u1")
        .metadata("user-id", "u2")
        .metadata_bin("raw-bin", b"\0\xff")
        .peer("192.0.2.7:4711")
        .timeout(Duration::from_secs(5))
        .principal_with_claims(ann)
        .id("call-of-ann")
        .attempt(3)
        .cancelled()
        .trace_context(trace.clone());
    let payload = b"any".to_vec();
    let echo = host.call(request, |call| Faults::echo(call, pb::EchoRequest { payload }));
    let echo = echo.expect("it echoes").message;
    let keys: Vec<_> = echo.metadata.iter().map(|entry| &*entry.key).collect();
    assert_eq!(keys, ["user-id", "user-id", "raw-bin"]);
    assert_eq!(echo.metadata[2].value, b"\0\xff");
    assert_eq!((&*echo.payload, &*echo.peer), (&b"any"[..], "192.0.2.7:4711"));
    assert_eq!((&*echo.call_id, echo.attempt), ("call-of-ann", 3));
    assert_eq!(echo.remaining, Some(5_000_000_000));
    assert_eq!(echo.deadline, Some(1_800_000_005_000_000_007));
    assert_eq!(echo.now, NOW.as_nanos() as u64);
    assert_eq!(echo.principal.as_deref(), Some("ann"));
    assert_eq!(
        (&*echo.claims[0].key, &*echo.claims[0].value),
        ("team", &b"tea"[..])
    );
    assert_eq!(echo.traceparent, trace.traceparent);
    assert!(echo.cancelled);
}

#[test]
fn random_bytes_come_from_the_seed() {
    let random = |seed| {
        let mut host = Host::new().seed(seed);
        let drawn = host.call(Request::new(), |call| Faults::random(call, pb::RandomRequest {}));
        drawn.expect("it draws").message
    };
    assert_eq!(random(7), random(7));
    assert_ne!(random(7), random(8));
}

#[test]
fn configuration_is_what_the_test_sets() {
    let mut host = Host::new().config("greeting", "hello");
    let read = host.call(Request::new(), |call| {
        Faults::read_config(call, pb::ReadConfigRequest {})
    });
    assert_eq!(read.expect("it reads").message.greeting.as_deref(), Some("hello"));
}
