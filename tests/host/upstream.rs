//! Calls of plugins to services outside: what arrives there, and what comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::in_both_modes;
use crate::support::backend::ASK;
use crate::support::pb::caller::*;
use crate::support::{Backend, Host, Isolation, Plugin, Setup, reason, until_some, within_patience};

mod grants;
mod patience;
mod replay;

in_both_modes!(
    answers_come_back_whole,
    failures_reach_the_guest_whole,
    question_marks_hide_the_upstream_from_clients,
    what_goes_along,
);

fn caller(backend: &Backend, keys: &str, isolation: Isolation) -> Setup {
    // Both targets must exist, because both are granted.
    Setup::of(Plugin::caller(isolation))
        .with(&backend.section("backend", keys))
        .with(&backend.section("other", ""))
}

fn ask(text: &str) -> Outgoing {
    Outgoing {
        target: "backend".into(),
        method: ASK.into(),
        message: AskRequest { text: text.into() }.encode_to_vec(),
        ..Outgoing::default()
    }
}

fn entry(key: &str, value: &[u8]) -> Entry {
    Entry {
        key: key.into(),
        value: value.into(),
    }
}

async fn forward(host: &Host, requests: impl Into<Vec<Outgoing>>) -> Vec<Outcome> {
    let request = ForwardRequest {
        requests: requests.into(),
    };
    let answer = host.caller().forward(request).await;
    answer.expect("the plugin answers").into_inner().outcomes
}

/// The one outcome of one request.
async fn outcome(host: &Host, request: Outgoing) -> Outcome {
    let outcomes = forward(host, [request]).await;
    outcomes.into_iter().next().expect("one for each request")
}

fn code(outcome: &Outcome) -> Code {
    Code::from_i32(outcome.code)
}

fn text(outcome: &Outcome) -> String {
    assert_eq!(code(outcome), Code::Ok, "{outcome:?}");
    let answer = AskResponse::decode(outcome.message.as_slice());
    answer.expect("the backend's message").text
}

fn metadata(entries: &[(&'static str, &str)]) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for (key, value) in entries {
        metadata.append(*key, value.parse().expect("a value"));
    }
    metadata
}

async fn answers_come_back_whole(isolation: Isolation) {
    let backend = Backend::new(|_, text| async move {
        let mut answer = Response::new(AskResponse { text });
        *answer.metadata_mut() = metadata(&[("flavour", "sweet"), ("flavour", "sour")]);
        let bytes = MetadataValue::from_bytes(&[0, 255]);
        answer.metadata_mut().insert_bin("raw-bin", bytes);
        Ok(answer)
    })
    .await;
    let host = caller(&backend, "", isolation).start().await;
    let answer = outcome(&host, ask("hello")).await;
    assert_eq!(text(&answer), "hello");
    assert!(answer.from_target);
    assert_eq!(
        answer.initial,
        [
            entry("flavour", b"sweet"),
            entry("flavour", b"sour"),
            entry("raw-bin", &[0, 255])
        ]
    );
    // One connection serves all calls, those of methods without side effects too.
    let request = ForwardRequest {
        requests: vec![ask("a"), ask("b")],
    };
    let answers = host.caller().forward_read(request).await.expect("answered");
    let answers: Vec<_> = answers.get_ref().outcomes.iter().map(text).collect();
    assert_eq!(answers, ["a", "b"]);
    assert_eq!(backend.connections(), 1);
    host.stop().await;
}

fn refusal() -> Status {
    let mut details = ErrorDetails::new();
    details
        .set_error_info("SOLD_OUT", "shop.example", [("item".to_owned(), "x".to_owned())])
        .set_retry_info(Some(Duration::from_millis(1500)));
    let metadata = metadata(&[("hint", "try tomorrow")]);
    Status::with_error_details_and_metadata(Code::ResourceExhausted, "none left: café", details, metadata)
}

async fn failures_reach_the_guest_whole(isolation: Isolation) {
    let backend = Backend::new(|_, _| async { Err(refusal()) }).await;
    let host = caller(&backend, "", isolation).start().await;
    let failure = outcome(&host, ask("x")).await;
    assert_eq!(code(&failure), Code::ResourceExhausted);
    assert_eq!(failure.text, "none left: café");
    assert_eq!(failure.reason, "SOLD_OUT");
    assert_eq!(failure.retry_milliseconds, Some(1500));
    assert_eq!(failure.trailing, [entry("hint", b"try tomorrow")]);
    assert!(failure.from_target);

    let request = AskBackendRequest { text: "x".into() };
    let passed_on = host.caller().pass_on(request).await.expect_err("failed");
    assert_eq!(passed_on.message(), "none left: café");
    let details = passed_on.get_error_details();
    assert_eq!(details.error_info().expect("passed on").reason, "SOLD_OUT");

    // The backend's own statuses, not the host's.
    let mut unknown = ask("x");
    unknown.method = "/caller.v1.Backend/Forget".into();
    let unknown = outcome(&host, unknown).await;
    assert_eq!((code(&unknown), unknown.from_target), (Code::Unimplemented, true));
    host.stop().await;
}

async fn question_marks_hide_the_upstream_from_clients(isolation: Isolation) {
    let backend = Backend::new(|_, text| async move {
        Err(match text.as_str() {
            "retry" => refusal(),
            _ => Status::permission_denied("the secret of the backend"),
        })
    })
    .await;
    let host = caller(&backend, "", isolation).start().await;
    let ask = async |text: &str| {
        let request = AskBackendRequest { text: text.into() };
        host.caller().ask(request).await.expect_err("failed")
    };
    let retry = ask("retry").await;
    assert_eq!(retry.code(), Code::ResourceExhausted);
    let details = retry.get_error_details();
    assert_eq!(
        details.retry_info().expect("kept").retry_delay,
        Some(Duration::from_millis(1500))
    );
    assert!(details.error_info().is_none(), "{details:?}");
    let denied = ask("deny").await;
    assert_eq!(denied.code(), Code::Internal);
    assert!(!denied.message().contains("secret"), "{denied}");
    let line = |line: &crate::support::log::Line| line.text.contains("the secret of the backend");
    host.log.wait_for("the cause", line).await;
    host.stop().await;
}

async fn what_goes_along(isolation: Isolation) {
    let backend = Backend::echo().await;
    let keys = "forward_metadata = [\"user-id\", \"tags-bin\"]";
    let host = caller(&backend, keys, isolation).start().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut outgoing = ask("x");
    outgoing.metadata = vec![
        entry("plugin-key", b"from the plugin"),
        entry("plugin-bin", &[1, 2]),
    ];
    let mut own = ask("y");
    own.metadata = vec![entry("user-id", b"the plugin"), entry("idempotency-key", b"mine")];
    let mut request = Request::new(ForwardRequest {
        requests: vec![outgoing, own],
    });
    *request.metadata_mut() = metadata(&[
        ("user-id", "ann"),
        ("user-id", "bob"),
        ("authorization", "secret"),
        ("traceparent", trace),
        ("tracestate", "a=b"),
    ]);
    let tags = MetadataValue::from_bytes(&[7]);
    request.metadata_mut().insert_bin("tags-bin", tags);
    host.caller().forward(request).await.expect("answered");

    let asked = backend.asked();
    assert_eq!(asked[0].all("user-id"), ["ann", "bob"]);
    assert_eq!(asked[0].all("plugin-key"), ["from the plugin"]);
    let bytes = asked[0].metadata.get_bin("plugin-bin").expect("sent");
    assert_eq!(bytes.to_bytes().expect("base64").as_ref(), [1, 2]);
    assert!(asked[0].metadata.get_bin("tags-bin").is_some());
    let parent = asked[0].all("traceparent")[0];
    assert_eq!((&parent[..36], &parent[52..]), (&trace[..36], &trace[52..]));
    assert_eq!(asked[0].all("tracestate"), ["a=b"]);
    assert_eq!(asked[0].all("authorization"), [""; 0]);
    assert!(asked[0].all("user-agent")[0].starts_with("mortise/"), "{asked:?}");
    let key = asked[0].all("idempotency-key")[0];
    assert!(key.ends_with("/1"), "{key}");
    assert_eq!(asked[1].all("user-id"), ["the plugin"]);
    assert_eq!(asked[1].all("idempotency-key"), ["mine"]);

    let mut reserved = ask("z");
    reserved.metadata = vec![entry("grpc-timeout", b"1S")];
    let refused = outcome(&host, reserved).await;
    assert_eq!(code(&refused), Code::InvalidArgument);
    assert_eq!(refused.reason, "UPSTREAM_INVALID_REQUEST");
    host.stop().await;
}
