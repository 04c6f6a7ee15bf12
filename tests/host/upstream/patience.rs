//! Deadlines, cancellation, retries and bounds of calls to targets.

use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::*;
use crate::support::frames::{CANCEL, FrameClient, HEADERS, RST_STREAM};
use crate::support::raw::framed;

in_both_modes!(
    the_deadline_shrinks_on_its_way,
    cancellation_reaches_the_upstream,
    expiry_reaches_the_upstream,
    unavailable_targets_are_tried_again,
    failing_targets_are_left_alone,
    calls_to_a_target_are_bounded,
);

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
    // The handler hears of it in the same moment as the host, and must not be the first to answer.
    for _ in 0..20 {
        let timeout = [("grpc-timeout", "20m")];
        let late = raw.unary("/caller.v1.Caller/Forward", &timeout, &clients).await;
        assert_eq!(
            (late.code(), late.reason().as_str()),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
        );
    }
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

/// An upstream by hand: one that knows gRPC would end the call at its deadline by itself.
async fn expiry_reaches_the_upstream(isolation: Isolation) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let asked = Arc::new(AtomicUsize::new(0));
    let resets = Arc::new(Mutex::new(Vec::new()));
    let (counter, noted) = (asked.clone(), resets.clone());
    let upstream = tokio::spawn(async move {
        loop {
            let mut connection = FrameClient::accept(&listener).await;
            while let Some(frame) = connection.next().await {
                match frame.kind {
                    HEADERS => drop(counter.fetch_add(1, Ordering::Relaxed)),
                    RST_STREAM => noted.lock().push(frame.payload),
                    _ => {}
                }
            }
        }
    });
    let target = |name: &str| format!("[upstreams.{name}]\nurl = \"http://{address}\"\n");
    let host = Setup::of(Plugin::caller(isolation))
        .with(&target("backend"))
        .with(&target("other"))
        .start()
        .await;
    let raw = host.raw().await;
    let request = framed(&ForwardRequest {
        requests: vec![ask("x")],
    });
    // On a busy machine the call may expire before the upstream is asked: it gets more time then.
    for timeout in ["500m", "5S", "25S"] {
        let timeout = [("grpc-timeout", timeout)];
        let late = raw
            .call("/caller.v1.Caller/Forward", &timeout, request.clone())
            .await;
        assert_eq!(late.reason(), "DEADLINE_EXCEEDED");
        if asked.load(Ordering::Relaxed) > 0 {
            break;
        }
    }
    let reset = until_some("a reset", async || resets.lock().first().cloned()).await;
    assert_eq!(reset, CANCEL.to_be_bytes());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    upstream.abort();
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
