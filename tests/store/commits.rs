//! Acceptance, withdrawal, the queue and the end of a store.

use mortise::capability::ErrorKind;
use mortise::capability::store::{CommitError, Health, Options, Store, Submission};

use crate::support::*;

fn submit(store: &Store, key: &str) -> Submission {
    let mut transaction = write(store);
    put(&mut transaction, key, "");
    store.commit(transaction)
}

fn slow_store(options: Options) -> (Faults, Store) {
    let faults = Faults::default();
    let store = Store::on_storage(faults.disk(), options).unwrap();
    (faults, store)
}

/// A commit that the disk holds up, so that what follows waits in the queue.
async fn hold_up(store: &Store) -> Submission {
    let submission = submit(store, "first");
    eventually("acceptance", || submission.accepted()).await;
    submission
}

#[tokio::test]
async fn commits_are_numbered_in_their_order() {
    let store = memory();
    assert_eq!(set(&store, &[("a", "")]).await, 1);
    assert_eq!(set(&store, &[("a", "")]).await, 2);
    let nothing = commit(&store, write(&store)).await.unwrap();
    assert_eq!(nothing.sequence, None);
    assert_eq!(set(&store, &[("a", "")]).await, 3);
}

#[tokio::test]
async fn what_waits_can_be_withdrawn_and_what_is_accepted_stands() {
    let (faults, store) = slow_store(Options::default());
    let stalled = faults.stall();
    let accepted = hold_up(&store).await;
    let dropped = submit(&store, "dropped");
    let withdrawn = submit(&store, "withdrawn");
    let kept = submit(&store, "kept");
    assert!(!dropped.accepted());
    drop(dropped);
    withdrawn.withdraw().unwrap();
    let accepted = accepted.withdraw().unwrap_err();
    drop(accepted);
    assert_eq!(
        get(&mut read(&store), "first"),
        None,
        "not visible before it is durable"
    );

    drop(stalled);
    kept.await.unwrap();
    let mut reader = read(&store);
    assert_eq!(
        keys(&reader.blocking_scan(&everything()).unwrap().entries),
        ["first", "kept"]
    );
}

#[tokio::test]
async fn a_full_queue_refuses_and_nothing_is_committed() {
    let (faults, store) = slow_store(Options {
        max_queued_commits: 2,
        ..Options::default()
    });
    let stalled = faults.stall();
    let first = hold_up(&store).await;
    let waiting = [submit(&store, "a"), submit(&store, "b")];
    let refused = submit(&store, "c").await.unwrap_err();
    assert!(matches!(refused, CommitError::Unavailable(_)), "{refused:?}");
    assert!(refused.to_string().contains("too many commits are waiting"));
    drop(stalled);
    first.await.unwrap();
    for submission in waiting {
        submission.await.unwrap();
    }
    assert_eq!(get(&mut read(&store), "c"), None);
    submit(&store, "c").await.unwrap();
}

#[tokio::test]
async fn a_queue_too_large_in_bytes_refuses() {
    let (faults, store) = slow_store(Options {
        max_queued_bytes: 1_000,
        ..Options::default()
    });
    let large = |key: &str| {
        let mut transaction = write(&store);
        put(&mut transaction, key, &"x".repeat(400));
        store.commit(transaction)
    };
    let stalled = faults.stall();
    let first = hold_up(&store).await;
    let waiting = [large("a"), large("b")];
    assert!(matches!(large("c").await, Err(CommitError::Unavailable(_))));
    drop(stalled);
    first.await.unwrap();
    for submission in waiting {
        submission.await.unwrap();
    }
    large("c").await.unwrap();
}

#[tokio::test]
async fn closing_finishes_what_waits_and_refuses_the_rest() {
    let (faults, store) = slow_store(Options::default());
    let mut reader = read(&store);
    get(&mut reader, "a");
    let stalled = faults.stall();
    let first = hold_up(&store).await;
    let waiting = submit(&store, "a");
    let closing = tokio::task::spawn_blocking({
        let store = store.clone();
        move || store.close()
    });
    drop(stalled);
    closing.await.unwrap();
    first.await.unwrap();
    waiting.await.unwrap();
    assert_eq!(store.health(), Health::Closed);
    assert!(matches!(
        commit_after_close(&store).await,
        CommitError::Unavailable(_)
    ));
    assert_eq!(reader.get(b"a").unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(read(&store).get(b"a").unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(
        write(&store).put(b"a", bytes("")).unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

async fn commit_after_close(store: &Store) -> CommitError {
    // Staged before the close, submitted after it.
    let fresh = memory();
    let mut transaction = write(&fresh);
    put(&mut transaction, "a", "");
    fresh.close();
    assert_eq!(store.health(), Health::Closed);
    fresh.commit(transaction).await.unwrap_err()
}
