//! What is in the log only, and when the database takes it over.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use mortise::capability::events::{Relay, RelayOptions};
use mortise::capability::store::{Options, Store, compact, verify};

use crate::support::*;

fn after(bytes: usize) -> Options {
    Options {
        checkpoint_bytes: bytes,
        ..Options::default()
    }
}

/// What a kill now would leave: the file as it is, without what the host has in memory.
fn killed(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(directory.join("store.redb"), copy.path().join("store.redb")).unwrap();
    copy
}

fn open(directory: &Path) -> Store {
    Store::open(directory, Options::default()).unwrap()
}

/// Everything that a transaction can leave, as of the `number`th.
async fn leave_everything(store: &Store, number: u8) {
    let mut transaction = write(store);
    transaction.recorded_answer([number; 32]).unwrap();
    put(&mut transaction, "last", &number.to_string());
    put(&mut transaction, &format!("key/{number:03}"), "value");
    if number > 1 {
        let before = format!("key/{:03}", number - 2);
        transaction.delete(before.as_bytes()).unwrap();
    }
    transaction
        .publish("topic", &number.to_string(), bytes("payload"))
        .unwrap();
    let when = SystemTime::now() + Duration::from_secs(3_600);
    let timer = transaction.schedule(when, "/order.v1.OrderTimers/Fire", bytes("request"));
    let timer = timer.unwrap().to_string();
    put(&mut transaction, "timer", &timer);
    transaction.record_answer(bytes(&format!("answer {number}")));
    commit(store, transaction).await.unwrap();
}

fn assert_everything(store: &Store, last: u8, what: &str) {
    let mut reader = read(store);
    assert_eq!(get(&mut reader, "last"), Some(last.to_string()), "{what}");
    let left = match last {
        0 => vec!["key/000".to_owned()],
        _ => vec![format!("key/{:03}", last - 1), format!("key/{last:03}")],
    };
    let found = reader.blocking_scan(&range(
        "key/",
        Some("key0"),
        mortise::capability::store::Direction::Ascending,
        10,
    ));
    assert_eq!(keys(&found.unwrap().entries), left, "{what}");
    let answer = read(store).recorded_answer([last; 32]).unwrap();
    assert_eq!(answer, Some(bytes(&format!("answer {last}"))), "{what}");
    let stats = store.view().unwrap().stats();
    assert!(stats.sequence > u64::from(last), "{what}");
    assert_eq!(stats.undelivered, u64::from(last) + 1, "{what}");
    let pending = store.deferred().pending()[&order()];
    assert_eq!(pending.count, u64::from(last) + 1, "{what}");
}

#[tokio::test]
async fn a_kill_after_any_commit_loses_nothing_of_it() {
    for checkpoint_bytes in [0, 2_000, usize::MAX] {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), after(checkpoint_bytes)).unwrap();
        for number in 0..12 {
            leave_everything(&store, number).await;
            let what = format!("checkpoints after {checkpoint_bytes} bytes, commit {number}");
            let left = killed(directory.path());
            let again = open(left.path());
            assert_everything(&again, number, &what);
            // And again, before it was ever closed in good order.
            let left = killed(left.path());
            assert_everything(&open(left.path()), number, &what);
            drop(again);
            assert_eq!(verify(left.path(), &Options::default()).unwrap(), [], "{what}");
        }
    }
}

/// Each of them is the first to open it after the kill.
#[tokio::test]
async fn tools_see_what_is_in_the_log_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..5 {
        leave_everything(&store, number).await;
    }
    assert!(store.metrics().log_bytes.value() > 0);
    for what in ["verified", "compacted"] {
        let left = killed(directory.path());
        match what {
            "verified" => assert_eq!(verify(left.path(), &Options::default()).unwrap(), []),
            _ => drop(compact(left.path(), &Options::default()).unwrap()),
        }
        let again = open(left.path());
        assert_everything(&again, 4, what);
        leave_everything(&again, 5).await;
        let left = killed(left.path());
        assert_everything(&open(left.path()), 5, what);
    }
}

/// The log of a store is no log of its backup, nor of what is restored over it.
#[tokio::test]
async fn a_restored_backup_is_written_to_like_any_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..5 {
        leave_everything(&store, number).await;
    }
    let restored = tempfile::tempdir().unwrap();
    store
        .view()
        .unwrap()
        .back_up(&restored.path().join("store.redb"))
        .unwrap();
    let copy = open(restored.path());
    assert_everything(&copy, 4, "restored");
    leave_everything(&copy, 5).await;
    assert_everything(&open(killed(restored.path()).path()), 5, "killed");
}

#[tokio::test]
async fn cursors_are_recovered_and_delivered_events_gone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (sink, mut seen) = keys_sink();
    let relay = Relay::start(&store, vec![sink], RelayOptions::default());
    let relay = relay.await.unwrap();
    for number in 0..5 {
        leave_everything(&store, number).await;
    }
    for number in 0..5 {
        let key = tokio::time::timeout(PATIENCE, seen.recv()).await.unwrap();
        assert_eq!(key, Some(number.to_string()));
    }
    let undelivered = || store.view().unwrap().stats().undelivered;
    eventually("the cursor is written", || undelivered() == 0).await;
    let left = killed(directory.path());
    assert_eq!(verify(left.path(), &Options::default()).unwrap(), []);
    let again = open(left.path());
    assert_eq!(again.view().unwrap().stats().undelivered, 0);
    relay.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_too_large_for_the_log_goes_into_the_database_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    set(&store, &[("small", "1")]).await;
    let large = "x".repeat(1 << 20);
    let pairs = ["a", "b", "c", "d", "e"].map(|key| (key, large.as_str()));
    set(&store, &pairs).await;
    set(&store, &[("small", "2")]).await;
    let again = open(killed(directory.path()).path());
    assert_eq!(get(&mut read(&again), "e"), Some(large));
    assert_eq!(get(&mut read(&again), "small").as_deref(), Some("2"));
}

/// Where the log begins in the file.
const LOG: usize = 4_096;

#[tokio::test]
async fn a_record_that_is_damaged_ends_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut ends = Vec::new();
    for number in 0..4 {
        leave_everything(&store, number).await;
        let file = fs::read(directory.path().join("store.redb")).unwrap();
        let end = file[LOG..4 << 20].iter().rposition(|byte| *byte != 0);
        ends.push(LOG + end.unwrap());
    }
    let whole = fs::read(directory.path().join("store.redb")).unwrap();
    for (last, end) in ends.iter().enumerate().skip(1) {
        let mut damaged = whole.clone();
        damaged[*end] ^= 1;
        let left = tempfile::tempdir().unwrap();
        fs::write(left.path().join("store.redb"), damaged).unwrap();
        let again = open(left.path());
        let before = u8::try_from(last).unwrap() - 1;
        assert_everything(&again, before, "what came before");
        // What followed it never comes back.
        leave_everything(&again, before + 1).await;
        let left = killed(left.path());
        assert_everything(&open(left.path()), before + 1, "what came after");
    }
}

/// Had at once what is a store's and nobody else's: the log of another store, or of the time before the last
/// checkpoint.
#[tokio::test]
async fn records_of_another_time_or_store_do_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    set(&store, &[("a", "old")]).await;
    let old = fs::read(directory.path().join("store.redb")).unwrap();
    // Closing is a checkpoint.
    store.close();
    let path = directory.path().join("store.redb");
    let mut file = fs::read(&path).unwrap();
    file[LOG..4 << 20].copy_from_slice(&old[LOG..4 << 20]);
    fs::write(&path, &file).unwrap();
    let store = open(directory.path());
    assert_eq!(set(&store, &[("b", "1")]).await, 2, "nothing was applied again");
    assert_eq!(get(&mut read(&store), "a").as_deref(), Some("old"));
    store.close();

    let other = tempfile::tempdir().unwrap();
    open(other.path()).close();
    let path = other.path().join("store.redb");
    let mut file = fs::read(&path).unwrap();
    file[LOG..4 << 20].copy_from_slice(&old[LOG..4 << 20]);
    fs::write(&path, &file).unwrap();
    assert_eq!(get(&mut read(&open(other.path())), "a"), None);
}
