//! Calls with an `idempotency-key` happen once.

use prost::Message;
use tonic::metadata::KeyAndValueRef;
use tonic::{Code, Request, Response, Status};

use crate::in_both_modes;
use crate::orders::order;
use crate::support::pb::faults::write_then_request::Ending;
use crate::support::pb::faults::*;
use crate::support::pb::order::*;
use crate::support::tokens::{TokenKey, claims_of, key_set};
use crate::support::{Host, Isolation, Plugin, Setup, reason};

in_both_modes!(
    a_repeated_call_gets_the_recorded_answer,
    a_key_belongs_to_one_request,
    a_failed_call_leaves_its_key_free,
    twins_in_flight_make_one_call,
    waiting_for_a_twin_is_bounded,
    keys_belong_to_callers_and_methods,
    malformed_keys_are_refused,
    methods_without_side_effects_ignore_the_key,
    a_repeated_call_survives_a_crash,
);

pub(crate) fn keyed<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let key = key.parse().expect("a value");
    request.metadata_mut().insert("idempotency-key", key);
    request
}

fn increment(wait_milliseconds: u32) -> IncrementRequest {
    IncrementRequest {
        key: "counter".into(),
        wait_milliseconds,
    }
}

/// All that a client can see of an answer, but for what the transport adds.
pub(crate) fn seen<T: Message>(answer: &Response<T>) -> (Vec<u8>, Vec<String>) {
    let entries = answer.metadata().iter().map(|entry| match entry {
        KeyAndValueRef::Ascii(key, value) => format!("{key}: {value:?}"),
        KeyAndValueRef::Binary(key, value) => format!("{key}: {value:?}"),
    });
    let entries = entries.filter(|entry| !entry.starts_with("date"));
    (answer.get_ref().encode_to_vec(), entries.collect())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> (Code, String) {
    let status = answer.expect_err("refused");
    (status.code(), reason(&status))
}

async fn a_repeated_call_gets_the_recorded_answer(isolation: Isolation) {
    let host = Setup::of(Plugin::order(isolation).config("region", "\"eu\""))
        .start()
        .await;
    // Its name, its time and its metadata are made by the handler: only a record can repeat them.
    let first = host
        .orders()
        .create_order(keyed("k1", order("")))
        .await
        .expect("placed");
    let again = host
        .orders()
        .create_order(keyed("\"k1\"", order("")))
        .await
        .expect("repeated");
    assert_eq!(seen(&again), seen(&first));
    let other = host
        .orders()
        .create_order(keyed("k2", order("")))
        .await
        .expect("placed");
    assert_ne!(other.get_ref().order_id, first.get_ref().order_id);

    // Also when the state has changed since, and would have it refused.
    let named = keyed("k3", order("named"));
    let first = host.orders().create_order(named).await.expect("placed");
    let cancel = CancelOrderRequest {
        id: "named".into(),
        version: None,
    };
    host.orders().cancel_order(cancel).await.expect("cancelled");
    let again = host
        .orders()
        .create_order(keyed("k3", order("named")))
        .await
        .expect("repeated");
    assert_eq!(seen(&again), seen(&first));
    let unkeyed = host.orders().create_order(order("named")).await;
    assert_eq!(unkeyed.expect_err("taken").code(), Code::AlreadyExists);
    assert_eq!(
        host.metrics().await.value("mortise_replayed_answers_total", &[]),
        Some(2.0)
    );
    host.stop().await;
}

async fn a_key_belongs_to_one_request(isolation: Isolation) {
    let host = Setup::of(Plugin::order(isolation)).start().await;
    host.orders()
        .create_order(keyed("k", order("one")))
        .await
        .expect("placed");
    let other = host.orders().create_order(keyed("k", order("other"))).await;
    let expected = (Code::FailedPrecondition, "IDEMPOTENCY_KEY_REUSED".to_owned());
    assert_eq!(refused(other), expected);
    let absent = host
        .orders()
        .get_order(GetOrderRequest { id: "other".into() })
        .await;
    assert_eq!(absent.expect_err("never placed").code(), Code::NotFound);
    host.orders()
        .create_order(keyed("k", order("one")))
        .await
        .expect("repeated");
    host.stop().await;
}

async fn a_failed_call_leaves_its_key_free(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let endings = [
        Ending::Fail,
        Ending::Panic,
        Ending::HugeAnswer,
        Ending::Unspecified,
    ];
    for ending in endings {
        let write = |ending: Ending| WriteThenRequest {
            key: "key".into(),
            value: "value".into(),
            ending: ending.into(),
        };
        host.faults()
            .write_then(keyed("k", write(ending)))
            .await
            .expect_err("as told");
    }
    // No record: another request may have the key, and the same one runs again.
    for expected in 1..=2 {
        let key = format!("k{expected}");
        for _ in 0..2 {
            let answer = host
                .faults()
                .increment(keyed(&key, increment(0)))
                .await
                .expect("added");
            assert_eq!(answer.get_ref().value, expected);
        }
    }
    let page = host.metrics().await;
    assert_eq!(
        page.value("mortise_recorded_answers", &[("plugin", "faults")]),
        Some(2.0)
    );
    host.stop().await;
}

async fn twins_in_flight_make_one_call(isolation: Isolation) {
    const TWINS: usize = 8;
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    for round in 1..=3 {
        let twins = (0..TWINS).map(|_| {
            let (mut faults, key) = (host.faults(), format!("round {round}"));
            let request = keyed(&format!("\"{key}\""), increment(30));
            tokio::spawn(async move { faults.increment(request).await })
        });
        for twin in twins.collect::<Vec<_>>() {
            let answer = twin.await.expect("no panic").expect("answered");
            assert_eq!(
                answer.get_ref().value,
                round,
                "one call counted, and all got its answer"
            );
        }
    }
    // A caller who goes away while its call runs leaves the key to the next one.
    let mut faults = host.faults();
    let gone = tokio::spawn(async move { faults.increment(keyed("gone", increment(60_000))).await });
    crate::support::until_some("the call runs", async || {
        let in_flight = host.metrics().await.sum("mortise_calls_in_flight", &[]);
        (in_flight == 1.0).then_some(())
    })
    .await;
    gone.abort();
    let next = host
        .faults()
        .increment(keyed("gone", increment(0)))
        .await
        .expect("nothing is recorded");
    assert_eq!(next.get_ref().value, 4);
    host.stop().await;
}

async fn waiting_for_a_twin_is_bounded(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation))
        .with("[idempotency]\nmax_wait_ms = 50\nmax_waiting = 1")
        .start()
        .await;
    let mut faults = host.faults();
    let first = tokio::spawn(async move { faults.increment(keyed("k", increment(3_000))).await });
    crate::support::until_some("the call runs", async || {
        let in_flight = host.metrics().await.sum("mortise_calls_in_flight", &[]);
        (in_flight == 1.0).then_some(())
    })
    .await;
    let (mut one, mut other) = (host.faults(), host.faults());
    let (one, other) = tokio::join!(
        one.increment(keyed("k", increment(3_000))),
        other.increment(keyed("k", increment(3_000)))
    );
    for twin in [one, other] {
        let status = twin.expect_err("in use");
        assert!(
            status.metadata().contains_key("grpc-retry-pushback-ms"),
            "{status:?}"
        );
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::Aborted, "IDEMPOTENCY_KEY_IN_USE".into())
        );
    }
    // The deadline bounds it as well; asked by a client without a clock of its own, which could be first.
    let late = [("idempotency-key", "k"), ("grpc-timeout", "20m")];
    let path = "/faults.v1.Faults/Increment";
    let late = host.raw().await.unary(path, &late, &increment(3_000)).await;
    assert_eq!(late.code(), Code::DeadlineExceeded);
    let first = first.await.expect("no panic").expect("answered");
    assert_eq!(first.get_ref().value, 1);
    let again = host
        .faults()
        .increment(keyed("k", increment(3_000)))
        .await
        .expect("repeated");
    assert_eq!(again.get_ref().value, 1);
    host.stop().await;
}

async fn keys_belong_to_callers_and_methods(isolation: Isolation) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let keys = folder.path().join("keys.json");
    let key = TokenKey::es256();
    std::fs::write(&keys, key_set(&[&key])).expect("the folder is there");
    let section = format!(
        "[issuers.accounts]\nissuer = \"https://issuer.test\"\naudiences = [\"orders\"]\nkeys = [{keys:?}]\n\
         [methods.\"faults.v1.Faults\"]\nanonymous = true"
    );
    let host = Setup::of(Plugin::faults(isolation)).with(&section).start().await;
    let caller = async |subject: Option<&str>| {
        let mut request = keyed("k", increment(0));
        if let Some(subject) = subject {
            let token = format!("Bearer {}", key.token(&claims_of(subject)));
            request
                .metadata_mut()
                .insert("authorization", token.parse().expect("a value"));
        }
        host.faults()
            .increment(request)
            .await
            .expect("added")
            .get_ref()
            .value
    };
    for _ in 0..2 {
        assert_eq!(caller(None).await, 1);
        assert_eq!(caller(Some("ann")).await, 2);
        assert_eq!(caller(Some("bob")).await, 3);
    }
    // The bytes of this request are the same: none.
    let mut faults = host.faults();
    let random = faults.random(keyed("k", RandomRequest::default())).await;
    random.expect("another method has keys of its own");
    host.stop().await;
}

async fn malformed_keys_are_refused(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let long = "x".repeat(256);
    let expected = (Code::InvalidArgument, "MALFORMED_IDEMPOTENCY_KEY".to_owned());
    for bad in ["", "\"", "\"a\", \"b\"", "a b", &long] {
        let answer = host.faults().increment(keyed(bad, increment(0))).await;
        assert_eq!(refused(answer), expected, "{bad}");
    }
    let mut twice = keyed("a", increment(0));
    twice
        .metadata_mut()
        .append("idempotency-key", "b".parse().expect("a value"));
    assert_eq!(refused(host.faults().increment(twice).await), expected);
    let first = host.faults().increment(increment(0)).await.expect("added");
    assert_eq!(first.get_ref().value, 1, "none of them ran");
    host.stop().await;
}

async fn methods_without_side_effects_ignore_the_key(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    for (key, payload) in [("k", "one"), ("k", "other"), ("not a key", "third")] {
        let request = EchoRequest {
            payload: payload.into(),
        };
        let answer = host
            .faults()
            .echo_read(keyed(key, request))
            .await
            .expect("answered");
        assert_eq!(answer.get_ref().payload, payload.as_bytes());
    }
    host.stop().await;
}

async fn a_repeated_call_survives_a_crash(isolation: Isolation) {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = || Setup::of(Plugin::order(isolation)).data(folder.path());
    let host = setup().start().await;
    let mut placed = Vec::new();
    for number in 0..5 {
        let request = keyed(&format!("k{number}"), order(""));
        placed.push(seen(&host.orders().create_order(request).await.expect("placed")));
    }
    host.kill().await;
    let host = setup().start().await;
    for (number, first) in placed.iter().enumerate() {
        let request = keyed(&format!("k{number}"), order(""));
        let again = host.orders().create_order(request).await.expect("repeated");
        assert_eq!(seen(&again), *first);
    }
    host.stop().await;
}

#[tokio::test]
async fn a_full_record_of_answers_refuses_new_keys_only() {
    let host: Host = Setup::of(Plugin::faults(Isolation::Call))
        .with("[idempotency]\nmax_bytes = 1048576")
        .start()
        .await;
    // Each answer holds its payload.
    let echo = |key: &str, size: usize| {
        let payload = vec![7; size];
        keyed(key, EchoRequest { payload })
    };
    host.faults()
        .echo(echo("a", 600_000))
        .await
        .expect("there is room");
    let full = host.faults().echo(echo("b", 600_000)).await;
    assert_eq!(refused(full), (Code::Unavailable, "STORE_UNAVAILABLE".to_owned()));
    host.faults().echo(echo("a", 600_000)).await.expect("repeated");
    host.faults()
        .echo(echo("c", 1_000))
        .await
        .expect("there is room for this");
    host.stop().await;
}
