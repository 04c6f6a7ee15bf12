//! Calls of a handler that is run again.

use super::*;

in_both_modes!(
    a_conflict_does_not_repeat_calls,
    other_questions_after_a_conflict_abort_the_call,
);

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
