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

in_both_modes!(
    answers_come_back_whole,
    failures_reach_the_guest_whole,
    question_marks_hide_the_upstream_from_clients,
    what_goes_along,
    the_deadline_shrinks_on_its_way,
    cancellation_reaches_the_upstream,
    unavailable_targets_are_tried_again,
    failing_targets_are_left_alone,
    calls_to_a_target_are_bounded,
    only_what_is_granted_can_be_called,
    a_conflict_does_not_repeat_calls,
    other_questions_after_a_conflict_abort_the_call,
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
    assert_eq!(asked[0].all("traceparent"), [trace]);
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

/// Microseconds of a `grpc-timeout`.
fn micros(timeout: &str) -> u64 {
    let (amount, unit) = timeout.split_at(timeout.len() - 1);
    let amount: u64 = amount.parse().expect("digits");
    match unit {
        "n" => amount / 1000,
        "u" => amount,
        "m" => amount * 1000,
        "S" => amount * 1_000_000,
        other => panic!("unit {other}"),
    }
}

async fn the_deadline_shrinks_on_its_way(isolation: Isolation) {
    let backend = Backend::echo().await;
    let host = caller(&backend, "", isolation).start().await;
    let mut sooner = ask("b");
    sooner.timeout_milliseconds = Some(20_000);
    let mut later = ask("c");
    later.timeout_milliseconds = Some(3_600_000);
    let mut request = Request::new(ForwardRequest {
        requests: vec![ask("a"), sooner, later],
    });
    request.set_timeout(Duration::from_secs(50));
    host.caller().forward(request).await.expect("answered");
    let asked = backend.asked();
    let timeouts: Vec<_> = asked
        .iter()
        .map(|asked| micros(asked.all("grpc-timeout")[0]))
        .collect();
    assert!(
        timeouts[0] < 50_000_000 && timeouts[0] > 20_000_000,
        "{timeouts:?}"
    );
    assert!(
        timeouts[1] <= 20_000_000 && timeouts[1] > 1_000_000,
        "{timeouts:?}"
    );
    assert!(timeouts[2] < timeouts[0], "{timeouts:?}");
    host.stop().await;

    // Of the client, the plugin and the operator, who is in the greatest hurry decides.
    let silent = Backend::new(|_, _| std::future::pending()).await;
    let host = caller(&silent, "timeout_ms = 200", isolation).start().await;
    let operators = outcome(&host, ask("x")).await;
    assert_eq!(code(&operators), Code::DeadlineExceeded);
    assert_eq!(operators.reason, "UPSTREAM_TIMEOUT");
    let mut plugins = ask("x");
    plugins.target = "other".into();
    plugins.timeout_milliseconds = Some(200);
    assert_eq!(
        code(&outcome(&host, plugins.clone()).await),
        Code::DeadlineExceeded
    );
    plugins.timeout_milliseconds = None;
    let clients = ForwardRequest {
        requests: vec![plugins],
    };
    // A client that does not end the call by itself.
    let raw = host.raw().await;
    let timeout = [("grpc-timeout", "200m")];
    let late = raw.unary("/caller.v1.Caller/Forward", &timeout, &clients).await;
    assert_eq!(
        (late.code(), late.reason().as_str()),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    host.stop().await;
}

/// Counts when it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

async fn cancellation_reaches_the_upstream(isolation: Isolation) {
    let cancelled = Arc::new(AtomicUsize::new(0));
    let counter = cancelled.clone();
    let backend = Backend::new(move |_, _| {
        let dropped = Dropped(counter.clone());
        async move {
            std::future::pending::<()>().await;
            drop(dropped);
            Err(Status::internal("not reached"))
        }
    })
    .await;
    let host = caller(&backend, "", isolation).start().await;
    let mut client = host.caller();
    let call = tokio::spawn(async move {
        let requests = vec![ask("x")];
        client.forward(ForwardRequest { requests }).await
    });
    until_some("the request", async || {
        (!backend.asked().is_empty()).then_some(())
    })
    .await;
    assert_eq!(cancelled.load(Ordering::Relaxed), 0);
    call.abort();
    until_some("the cancellation", async || {
        (cancelled.load(Ordering::Relaxed) == 1).then_some(())
    })
    .await;
    host.stop().await;
}

async fn unavailable_targets_are_tried_again(isolation: Isolation) {
    let backend = Backend::closing(1, |number, text| async move {
        match (number, text.as_str()) {
            (1, _) => Err(Status::unavailable("starting")),
            (_, "never") => {
                let metadata = metadata(&[("grpc-retry-pushback-ms", "-1")]);
                Err(Status::with_metadata(Code::Unavailable, "leave me", metadata))
            }
            (_, "internal") => Err(Status::internal("broken")),
            _ => Ok(Response::new(AskResponse { text })),
        }
    })
    .await;
    let host = caller(&backend, "retries = 2", isolation).start().await;
    // The first connection is closed, the first answer UNAVAILABLE.
    assert_eq!(text(&outcome(&host, ask("hello")).await), "hello");
    assert_eq!(backend.connections(), 2);
    let asked = backend.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].all("idempotency-key"), asked[1].all("idempotency-key"));
    assert_eq!(code(&outcome(&host, ask("internal")).await), Code::Internal);
    assert_eq!(code(&outcome(&host, ask("never")).await), Code::Unavailable);
    assert_eq!(backend.asked().len(), 4, "neither is tried again");
    host.stop().await;

    let hopeless = Backend::new(|_, _| async { Err(Status::unavailable("for good")) }).await;
    let host = caller(&hopeless, "retries = 3", isolation).start().await;
    let failure = outcome(&host, ask("x")).await;
    assert_eq!(
        (code(&failure), failure.text.as_str()),
        (Code::Unavailable, "for good")
    );
    assert_eq!(hopeless.asked().len(), 4);
    let mut hurried = ask("x");
    hurried.timeout_milliseconds = Some(20);
    outcome(&host, hurried).await;
    assert!(hopeless.asked().len() <= 5, "there is no time for a pause");
    host.stop().await;
}

async fn failing_targets_are_left_alone(isolation: Isolation) {
    let backend = Backend::new(|number, text| async move {
        if number <= 3 {
            Err(Status::unavailable("down"))
        } else {
            Ok(Response::new(AskResponse { text }))
        }
    })
    .await;
    let keys = "retries = 0\nbreaker_failures = 3\nbreaker_open_ms = 300";
    let host = caller(&backend, keys, isolation).start().await;
    for _ in 0..3 {
        let failure = outcome(&host, ask("x")).await;
        assert_eq!((code(&failure), failure.from_target), (Code::Unavailable, true));
    }
    let open = outcome(&host, ask("x")).await;
    assert_eq!((code(&open), open.from_target), (Code::Unavailable, false));
    assert_eq!(open.reason, "UPSTREAM_CIRCUIT_OPEN");
    assert!(
        open.retry_milliseconds.is_some_and(|millis| millis <= 300),
        "{open:?}"
    );
    assert_eq!(backend.asked().len(), 3);
    // Other targets are not concerned, though they are the same server.
    let mut other = ask("other");
    other.target = "other".into();
    assert_eq!(text(&outcome(&host, other).await), "other");
    until_some("the end of the pause", async || {
        let answer = outcome(&host, ask("again")).await;
        (code(&answer) == Code::Ok).then_some(())
    })
    .await;
    let message = |text: &'static str| move |line: &crate::support::log::Line| line.message() == text;
    let opened = "the upstream keeps failing and is left alone";
    host.log.wait_for(opened, message(opened)).await;
    let closed = "the upstream answers again";
    host.log.wait_for(closed, message(closed)).await;
    host.stop().await;
}

async fn calls_to_a_target_are_bounded(isolation: Isolation) {
    let (release, released) = tokio::sync::watch::channel(false);
    let backend = Backend::new(move |_, text| {
        let mut released = released.clone();
        async move {
            released
                .wait_for(|released| *released)
                .await
                .expect("the test goes on");
            Ok(Response::new(AskResponse { text }))
        }
    })
    .await;
    let host = caller(&backend, "max_concurrent = 1\nmax_queued = 1", isolation)
        .start()
        .await;
    let call = |text: &'static str| {
        let mut client = host.caller();
        tokio::spawn(async move {
            let requests = vec![ask(text)];
            let answer = client.forward(ForwardRequest { requests }).await;
            answer
                .expect("the plugin answers")
                .into_inner()
                .outcomes
                .remove(0)
        })
    };
    let first = call("first");
    until_some("the first request", async || {
        (backend.asked().len() == 1).then_some(())
    })
    .await;
    // One more waits; whichever comes third is refused.
    let rivals = futures_util::future::select_all([call("a"), call("b")]);
    let (refused, _, mut waiting) = within_patience("a refusal", rivals).await;
    let refused = refused.expect("it does not panic");
    assert_eq!(code(&refused), Code::Unavailable);
    assert_eq!(refused.reason, "UPSTREAM_OVERLOADED");
    assert_eq!(backend.asked().len(), 1);
    release.send_replace(true);
    text(&first.await.expect("it does not panic"));
    text(&waiting.remove(0).await.expect("it does not panic"));
    host.stop().await;
}

async fn only_what_is_granted_can_be_called(isolation: Isolation) {
    let backend = Backend::echo().await;
    let keys = "methods = [\"caller.v1.Backend/Ask\", \"shop.v1.Stock/*\"]\n\
                max_request_bytes = 100\nmax_response_bytes = 50";
    let host = caller(&backend, keys, isolation)
        .with(&backend.section("third", ""))
        .start()
        .await;
    let mut third = ask("x");
    third.target = "third".into();
    let mut method = ask("x");
    method.method = "/caller.v1.Backend/Watch".into();
    let mut path = ask("x");
    path.method = "/caller.v1.Backend/Ask?x".into();
    for (request, expected, reason) in [
        (third, Code::PermissionDenied, "UPSTREAM_NOT_ALLOWED"),
        (method, Code::PermissionDenied, "UPSTREAM_NOT_ALLOWED"),
        (path, Code::InvalidArgument, "UPSTREAM_INVALID_REQUEST"),
        (ask(&"x".repeat(101)), Code::ResourceExhausted, "UPSTREAM_LIMIT"),
    ] {
        let refused = outcome(&host, request.clone()).await;
        assert_eq!(
            (code(&refused), refused.reason.as_str()),
            (expected, reason),
            "{request:?}"
        );
    }
    assert!(backend.asked().is_empty());
    let large = outcome(&host, ask(&"x".repeat(60))).await;
    assert_eq!(
        (code(&large), large.reason.as_str()),
        (Code::ResourceExhausted, "UPSTREAM_LIMIT")
    );
    assert_eq!(text(&outcome(&host, ask("small")).await), "small");
    host.stop().await;

    let bounded = Plugin::caller(isolation).key("max_upstream_calls", 2);
    let host = Setup::of(bounded)
        .with(&backend.section("backend", ""))
        .with(&backend.section("other", ""))
        .start()
        .await;
    let outcomes = forward(&host, [ask("1"), ask("2"), ask("3")]).await;
    let codes: Vec<_> = outcomes.iter().map(code).collect();
    assert_eq!(codes, [Code::Ok, Code::Ok, Code::ResourceExhausted]);
    host.stop().await;
}

/// Calls `Count` twice at once, so that one of them meets a conflict: both have read the counter when the first
/// question of each arrives. Returns how both ended.
async fn rivals(
    isolation: Isolation,
    ask_the_value: bool,
) -> (Backend, Host, Vec<Result<CountResponse, Status>>) {
    let (both, barrier) = (Arc::new(tokio::sync::Barrier::new(2)), AtomicUsize::new(0));
    let backend = Backend::new(move |number, text| {
        let both = both.clone();
        // Only the first question of each waits for the other.
        let waits = barrier.fetch_add(1, Ordering::Relaxed) < 2;
        async move {
            if waits {
                both.wait().await;
            }
            let text = format!("{number}: {text}");
            Ok(Response::new(AskResponse { text }))
        }
    })
    .await;
    let host = caller(&backend, "", isolation).start().await;
    let count = async || {
        let request = CountRequest {
            key: "k".into(),
            ask_the_value,
        };
        let answer = host.caller().count(request).await;
        answer.map(Response::into_inner)
    };
    let (one, two) = tokio::join!(count(), count());
    (backend, host, vec![one, two])
}

async fn a_conflict_does_not_repeat_calls(isolation: Isolation) {
    let (backend, host, answers) = rivals(isolation, false).await;
    let mut answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("both commit"))
        .collect();
    answers.sort_by_key(|answer| answer.value);
    let seen: Vec<_> = answers
        .iter()
        .map(|answer| (answer.value, answer.attempt))
        .collect();
    assert_eq!(seen, [(1, 1), (2, 2)]);
    // The second attempt got the first one's answer.
    let mut texts: Vec<_> = answers.iter().map(|answer| answer.text.as_str()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["1: k", "2: k"]);
    assert_eq!(backend.asked().len(), 2);
    host.stop().await;
}

async fn other_questions_after_a_conflict_abort_the_call(isolation: Isolation) {
    let (backend, host, answers) = rivals(isolation, true).await;
    let (well, failed): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(well.len(), 1);
    let status = failed.into_iter().next().expect("the other").expect_err("failed");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Aborted, "UPSTREAM_DIVERGED")
    );
    assert_eq!(
        backend.asked().len(),
        2,
        "nothing was sent for the second attempt"
    );
    host.stop().await;
}

/// What the operator hears of a plugin that may not call what it needs.
#[tokio::test]
async fn a_plugin_without_its_grants_is_refused() {
    let backend = Backend::echo().await;
    let ungranted = |grants: &str| {
        Setup::of(Plugin::caller(Isolation::Call).replace("grants", grants))
            .with(&backend.section("backend", ""))
    };
    let none = ungranted("[]").run().await;
    assert_eq!(none.code, Some(3), "{}", none.stderr);
    assert!(
        none.stderr.contains("it imports mortise:plugin/upstream"),
        "{}",
        none.stderr
    );
    assert!(
        none.stderr.contains("grants = [\"upstream:NAME\"]"),
        "{}",
        none.stderr
    );
    let one = ungranted("[\"upstream:backend\"]").run().await;
    assert_eq!(one.code, Some(3), "{}", one.stderr);
    assert!(
        one.stderr.contains("add \"upstream:other\" to grants"),
        "{}",
        one.stderr
    );
    let unknown = ungranted("[\"upstream:backend\", \"upstream:other\"]")
        .run()
        .await;
    assert_eq!(unknown.code, Some(3), "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("add [upstreams.other] with its url"),
        "{}",
        unknown.stderr
    );
}

#[tokio::test]
async fn targets_over_tls_must_have_a_certificate_of_the_ca() {
    let authority = || {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        rcgen::CertifiedIssuer::self_signed(params, key).expect("a certificate")
    };
    let (ours, another) = (authority(), authority());
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
    let certificate = params.signed_by(&key, &ours).expect("a certificate");
    let backend = Backend::echo_over_tls(&certificate.pem(), &key.serialize_pem()).await;

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let section = |name: &str, ca: String| {
        let file = folder.path().join(format!("{name}.pem"));
        std::fs::write(&file, ca).expect("the folder is ours");
        let keys = format!("ca_file = {file:?}\nretries = 0");
        backend.section_of("https", name, &keys)
    };
    let host = Setup::of(Plugin::caller(Isolation::Call))
        .with(&section("backend", ours.pem()))
        .with(&section("other", another.pem()))
        .start()
        .await;
    assert_eq!(text(&outcome(&host, ask("hello")).await), "hello");
    let mut untrusted = ask("hello");
    untrusted.target = "other".into();
    let untrusted = outcome(&host, untrusted).await;
    assert_eq!(
        (code(&untrusted), untrusted.reason.as_str()),
        (Code::Unavailable, "UPSTREAM_UNREACHABLE")
    );
    assert_eq!(backend.asked().len(), 1);
    host.stop().await;
}
