//! Answers recorded under idempotency keys, and what they cost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use mortise::capability::Namespace;
use mortise::capability::store::{Access, AnswerKey, AnswerOptions, CommitError, Options, Store, Usage};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::*;

fn key(number: u8) -> AnswerKey {
    [number; 32]
}

const RETENTION: Duration = Duration::from_secs(60);

/// A store whose answers expire after [`RETENTION`], by a clock that only the test moves.
fn clocked(clock: fn() -> SystemTime, max_bytes: u64) -> Store {
    Store::in_memory(Options {
        answers: AnswerOptions {
            retention: RETENTION,
            max_bytes,
            clock,
        },
        ..Options::default()
    })
    .unwrap()
}

/// Seconds since the Unix epoch. Each test has its own, since all of a binary's run in one process.
fn at(seconds: &AtomicU64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst))
}

fn pass_retention(seconds: &AtomicU64) {
    seconds.fetch_add(RETENTION.as_secs(), Ordering::SeqCst);
}

fn recorded(store: &Store, number: u8) -> Option<String> {
    let found = write(store).recorded_answer(key(number)).unwrap();
    found.map(|answer| String::from_utf8(answer.to_vec()).unwrap())
}

async fn record(store: &Store, number: u8, answer: &str) -> Result<(), CommitError> {
    let mut transaction = write(store);
    assert_eq!(transaction.recorded_answer(key(number)).unwrap(), None);
    transaction.record_answer(bytes(answer));
    commit(store, transaction).await.map(drop)
}

fn usage(store: &Store) -> Usage {
    store.usage().get(&order()).copied().unwrap_or_default()
}

#[tokio::test]
async fn an_answer_commits_with_the_writes_or_not_at_all() {
    let store = memory();
    let mut transaction = write(&store);
    transaction.recorded_answer(key(1)).unwrap();
    put(&mut transaction, "a", "1");
    transaction.record_answer(bytes("answer"));
    drop(transaction);
    assert_eq!(recorded(&store, 1), None);

    // Even one that wrote nothing has something to commit.
    record(&store, 1, "answer").await.unwrap();
    assert_eq!(recorded(&store, 1).as_deref(), Some("answer"));
    assert_eq!(usage(&store).answers, 1);
    assert_eq!(get(&mut read(&store), "a"), None);
}

#[tokio::test]
async fn of_two_calls_with_one_key_one_runs_again() {
    let store = memory();
    let attempt = |key_of_write: &str| {
        let mut transaction = write(&store);
        transaction.recorded_answer(key(1)).unwrap();
        put(&mut transaction, key_of_write, "1");
        transaction.record_answer(bytes(key_of_write));
        transaction
    };
    let (one, other) = (attempt("one"), attempt("other"));
    commit(&store, one).await.unwrap();
    assert!(is_conflict(&commit(&store, other).await));
    assert_eq!(recorded(&store, 1).as_deref(), Some("one"));
    assert_eq!(get(&mut read(&store), "other"), None);

    // In one batch as well.
    let faults = Faults::default();
    let store = Store::on_storage(faults.disk(), Options::default()).unwrap();
    let attempts: Vec<_> = (0..5)
        .map(|_| {
            let mut transaction = write(&store);
            transaction.recorded_answer(key(2)).unwrap();
            transaction.record_answer(bytes("x"));
            transaction
        })
        .collect();
    let stalled = faults.stall();
    let submitted: Vec<_> = attempts
        .into_iter()
        .map(|attempt| store.commit(attempt))
        .collect();
    drop(stalled);
    let mut committed = 0;
    for outcome in submitted {
        match outcome.await {
            Ok(_) => committed += 1,
            Err(error) => assert!(matches!(error, CommitError::Conflict(_))),
        }
    }
    assert_eq!(committed, 1);
    assert_eq!(usage(&store).answers, 1);
}

#[tokio::test]
async fn answers_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    record(&store, 1, "answer").await.unwrap();
    let before = usage(&store);
    store.close();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    assert_eq!(recorded(&store, 1).as_deref(), Some("answer"));
    assert_eq!(usage(&store), before);
}

#[tokio::test]
async fn expired_answers_are_forgotten_and_swept_by_later_commits() {
    static SECONDS: AtomicU64 = AtomicU64::new(1_000);
    let store = clocked(|| at(&SECONDS), 1 << 20);
    for number in 0..10 {
        record(&store, number, "answer").await.unwrap();
    }
    pass_retention(&SECONDS);
    assert_eq!(recorded(&store, 1), None, "it has expired");
    assert_eq!(usage(&store).answers, 10, "and is still there");
    record(&store, 1, "anew").await.unwrap();
    assert_eq!(recorded(&store, 1).as_deref(), Some("anew"));
    assert_eq!(usage(&store).answers, 1);
    pass_retention(&SECONDS);
    set(&store, &[("a", "1")]).await;
    let left = usage(&store);
    assert_eq!((left.answers, left.answer_bytes), (0, 0));
}

#[tokio::test]
async fn a_full_record_refuses_until_something_expires() {
    static SECONDS: AtomicU64 = AtomicU64::new(1_000);
    let store = clocked(|| at(&SECONDS), 1_000);
    record(&store, 1, &"x".repeat(500)).await.unwrap();
    let refused = record(&store, 2, &"x".repeat(500)).await;
    assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    assert_eq!(recorded(&store, 2), None);
    let other = Namespace::new("other").unwrap();
    let mut transaction = store.begin(&other, Access::ReadWrite);
    transaction.recorded_answer(key(3)).unwrap();
    transaction.record_answer(bytes("another plugin has room of its own"));
    commit(&store, transaction).await.unwrap();

    pass_retention(&SECONDS);
    // What finds no room at first makes it: sweeping waits for no successful commit.
    let still_full = record(&store, 2, &"x".repeat(500)).await;
    assert!(
        matches!(still_full, Err(CommitError::Unavailable(_))),
        "{still_full:?}"
    );
    record(&store, 2, &"x".repeat(500)).await.unwrap();
}

#[tokio::test]
async fn keys_and_bytes_are_counted_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path(), Options::default()).unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let mut model: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..200 {
        let mut transaction = write(&store);
        for _ in 0..random.random_range(1..8) {
            let key = "k".repeat(random.random_range(1..12));
            if random.random_bool(0.3) {
                transaction.delete(key.as_bytes()).unwrap();
                model.remove(&key);
            } else {
                let size = random.random_range(0..300);
                put(&mut transaction, &key, &"v".repeat(size));
                model.insert(key, size);
            }
        }
        commit(&store, transaction).await.unwrap();
        if round % 50 == 0 {
            store.close();
            store = Store::open(directory.path(), Options::default()).unwrap();
        }
        let counted = usage(&store);
        let bytes: usize = model.iter().map(|(key, size)| key.len() + size).sum();
        assert_eq!(
            (counted.keys, counted.bytes),
            (model.len() as u64, bytes as u64),
            "round {round}"
        );
    }
}
