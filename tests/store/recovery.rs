//! Disks that fail and work again.

use std::path::Path;
use std::time::{Duration, SystemTime};

use mortise::capability::events::{Relay, RelayOptions};
use mortise::capability::store::{CommitError, Health, Options, Store};
use mortise::capability::timers::{TimerOptions, Timers};

use crate::consumer::{Consumer, add_one};
use crate::support::*;

fn on(faults: &Faults) -> Store {
    let disk = faults.disk();
    let options = Options {
        cache_bytes: 0,
        reopen_after: Duration::from_millis(5),
        ..Options::default()
    };
    Store::on_lasting_storage(move || Box::new(disk.clone()), options).unwrap()
}

fn is_failed(store: &Store) -> bool {
    matches!(store.health(), Health::Failed { .. })
}

async fn until_open(store: &Store) {
    eventually("the store is open again", || {
        store.health() == Health::Open && read(store).get(b"a").is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_store_opens_again_when_the_disk_works_again() {
    let faults = Faults::default();
    let store = on(&faults);
    let first = set(&store, &[("a", "1")]).await;
    let mut old = write(&store);
    get(&mut old, "a");
    put(&mut old, "b", "by a call from before");

    faults.fail_sync();
    let mut transaction = write(&store);
    put(&mut transaction, "a", "2");
    assert_eq!(commit(&store, transaction).await, Err(CommitError::Unknown));
    assert!(is_failed(&store));
    // It tries, and goes on refusing while the disk is broken.
    faults.fail_read();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(is_failed(&store));
    write(&store).put(b"a", bytes("3")).unwrap_err();

    faults.mend();
    until_open(&store).await;
    let found = read(&store).get(b"a").unwrap().unwrap();
    assert!(
        ["1", "2"].map(bytes).contains(&found.value),
        "whole, or not at all"
    );
    let outcome = commit(&store, old).await;
    assert!(
        matches!(
            outcome,
            Err(CommitError::Conflict(_) | CommitError::Unavailable(_))
        ),
        "what was read before may be gone: {outcome:?}"
    );
    let again = set(&store, &[("a", "4")]).await;
    assert!(again > first + 1, "no number is given twice");
    assert_eq!(get(&mut read(&store), "a").as_deref(), Some("4"));
    assert_eq!(get(&mut read(&store), "b"), None);
}

#[tokio::test]
async fn every_kind_of_failure_ends_and_the_acknowledged_stays() {
    let faults = Faults::default();
    let store = on(&faults);
    let fail: [fn(&Faults); 3] = [Faults::fail_sync, Faults::fail_write, Faults::fail_read];
    for (number, fail) in (0..).zip(fail.iter().cycle().take(9)) {
        set(&store, &[("a", &number.to_string())]).await;
        fail(&faults);
        // A read, as well as a commit, may be the first to meet it.
        let _met = read(&store).get(b"a");
        let mut transaction = write(&store);
        if transaction.put(b"lost", bytes(&number.to_string())).is_ok() {
            commit(&store, transaction).await.unwrap_err();
        }
        eventually("the failure is noticed", || is_failed(&store)).await;
        faults.mend();
        until_open(&store).await;
        assert_eq!(get(&mut read(&store), "a"), Some(number.to_string()));
    }
}

#[tokio::test]
async fn events_are_delivered_after_a_failure() {
    let faults = Faults::default();
    let store = on(&faults);
    let (sink, mut seen) = keys_sink();
    let sinks = vec![sink];
    let options = RelayOptions {
        min_backoff: Duration::from_millis(1),
        ..RelayOptions::default()
    };
    let relay = Relay::start(&store, sinks, options).await.unwrap();
    let publish = async |key: &str| {
        let mut transaction = write(&store);
        transaction.publish("topic", key, bytes("payload")).unwrap();
        commit(&store, transaction).await
    };
    publish("one").await.unwrap();
    assert_eq!(seen.recv().await.as_deref(), Some("one"));
    faults.fail_sync();
    let mut transaction = write(&store);
    put(&mut transaction, "a", "2");
    commit(&store, transaction).await.unwrap_err();
    faults.mend();
    until_open(&store).await;
    publish("two").await.unwrap();
    let next = async {
        // One that was not acknowledged before the failure may come again.
        loop {
            if seen.recv().await.as_deref() == Some("two") {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, next)
        .await
        .expect("the relay goes on");
    relay.stop().await;
}

#[tokio::test]
async fn timers_are_called_after_a_failure_and_counted_as_they_are_in_the_file() {
    let faults = Faults::default();
    let store = on(&faults);
    let plugin = Consumer::new(&store, |_, transaction| {
        add_one(transaction, "fired");
        Ok(())
    });
    let timers = Timers::start(&store, plugin, TimerOptions::default());
    let schedule = async |when: SystemTime| {
        let mut transaction = write(&store);
        let scheduled = transaction.schedule(when, "/order.v1.OrderTimers/Fire", bytes(""));
        scheduled.unwrap();
        commit(&store, transaction).await
    };
    let later = SystemTime::now() + Duration::from_secs(3_600);
    schedule(later).await.unwrap();
    faults.fail_sync();
    // Whether it is there is known only to the file.
    assert_eq!(schedule(later).await, Err(CommitError::Unknown));
    faults.mend();
    until_open(&store).await;
    let there = store.deferred().list(&order(), None, 10).unwrap().entries.len() as u64;
    assert_eq!(store.deferred().pending()[&order()].count, there);
    schedule(SystemTime::now()).await.unwrap();
    eventually("timers go on", || {
        get(&mut read(&store), "fired").as_deref() == Some("1")
    })
    .await;
    assert_eq!(store.deferred().pending()[&order()].count, there);
    timers.stop().await;
}

#[tokio::test]
async fn a_store_that_is_closed_while_it_has_failed_stays_closed() {
    let faults = Faults::default();
    let store = on(&faults);
    faults.fail_sync();
    let mut transaction = write(&store);
    put(&mut transaction, "a", "2");
    commit(&store, transaction).await.unwrap_err();
    store.close();
    faults.mend();
    assert!(is_failed(&store), "the cause stays known");
    write(&store).put(b"a", bytes("3")).unwrap_err();
}

/// The real file, of which a part goes bad and comes back.
#[tokio::test]
async fn a_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        cache_bytes: 0,
        reopen_after: Duration::from_millis(5),
        ..Options::default()
    };
    let store = Store::open(directory.path(), options).unwrap();
    let filler = "x".repeat(3_000);
    for number in 0..50 {
        set(&store, &[(&format!("key/{number}"), &filler), ("a", "1")]).await;
    }
    let file = directory.path().join("store.redb");
    let whole = damage(&file);
    // Some read meets the damage, or the check does, when another failure made it necessary.
    let scan = || read(&store).blocking_scan(&everything());
    eventually("a read fails", || scan().is_err()).await;
    assert!(is_failed(&store));
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(is_failed(&store), "a damaged file is not taken into use");
    std::fs::write(&file, whole).unwrap();
    until_open(&store).await;
    assert_eq!(scan().unwrap().entries.len(), 51);
}

/// Cuts the file off; gives what it was.
fn damage(file: &Path) -> Vec<u8> {
    let whole = std::fs::read(file).unwrap();
    let cut = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    cut.set_len(4_096).unwrap();
    whole
}
