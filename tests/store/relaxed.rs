//! Plugins whose commits are acknowledged before they are on the disk.

use std::time::{Duration, SystemTime};

use mortise::capability::Namespace;
use mortise::capability::events::{Relay, RelayOptions};
use mortise::capability::store::{Access, Durability, Options, PluginOptions, Store, Transaction};
use mortise::capability::timers::{TimerOptions, Timers};

use crate::consumer::{Consumer, add_one};
use crate::log::Disk;
use crate::support::*;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// The plugin of most tests waits for no disk.
pub(crate) fn relaxed(window: Duration) -> Options {
    let plugin = PluginOptions {
        durability: Durability::Relaxed,
        ..PluginOptions::default()
    };
    Options {
        plugins: [(order(), plugin)].into(),
        relaxed_window: window,
        ..Options::default()
    }
}

fn on(faults: &Faults, window: Duration) -> Store {
    Store::on_storage(faults.disk(), relaxed(window)).unwrap()
}

/// Gives the file room: one that has to grow waits for the disk.
async fn make_room(store: &Store) {
    set(store, &[("room", &"x".repeat(200_000))]).await;
    let mut transaction = write(store);
    transaction.delete(b"room").unwrap();
    commit(store, transaction).await.unwrap();
    commit(store, careful(store)).await.unwrap();
}

/// Of a plugin that waits for the disk.
pub(crate) fn careful(store: &Store) -> Transaction {
    let mut transaction = store.begin(&Namespace::new("careful").unwrap(), Access::ReadWrite);
    put(&mut transaction, "a", "1");
    transaction
}

#[tokio::test]
async fn a_relaxed_commit_waits_for_no_disk_and_is_seen_at_once() {
    let faults = Faults::default();
    let store = on(&faults, HOUR);
    make_room(&store).await;
    let _stalled = faults.stall();
    for number in 1..=20 {
        set(&store, &[("a", &number.to_string())]).await;
        assert_eq!(get(&mut read(&store), "a"), Some(number.to_string()));
    }
    assert_eq!(store.usage()[&order()].keys, 1);
}

#[tokio::test]
async fn conflicts_are_found_as_always() {
    let store = on(&Faults::default(), HOUR);
    set(&store, &[("a", "1")]).await;
    let mut transaction = write(&store);
    get(&mut transaction, "a");
    put(&mut transaction, "b", "1");
    set(&store, &[("a", "2")]).await;
    commit(&store, transaction).await.unwrap_err();
}

#[tokio::test]
async fn a_commit_that_waits_for_the_disk_takes_earlier_ones_along() {
    let disk = Disk::new(1);
    let store = Store::on_storage(disk.clone(), relaxed(HOUR)).unwrap();
    make_room(&store).await;
    set(&store, &[("a", "1")]).await;
    commit(&store, careful(&store)).await.unwrap();
    set(&store, &[("a", "lost")]).await;
    let crashed = crash(&disk);
    assert_eq!(get(&mut read(&crashed), "a").as_deref(), Some("1"));
    assert_eq!(crashed.usage()[&order()].bytes, 2);
    // In good order nothing is lost.
    store.close();
    let store = crash(&disk);
    assert_eq!(get(&mut read(&store), "a").as_deref(), Some("lost"));
}

#[tokio::test]
async fn the_window_bounds_what_is_lost() {
    let disk = Disk::new(1);
    let store = Store::on_storage(disk.clone(), relaxed(Duration::from_millis(1))).unwrap();
    set(&store, &[("a", "1")]).await;
    eventually("it is on the disk", || {
        get(&mut read(&crash(&disk)), "a").as_deref() == Some("1")
    })
    .await;
}

#[tokio::test]
async fn a_host_that_is_killed_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), relaxed(HOUR)).unwrap();
    set(&store, &[("a", "1")]).await;
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(
        directory.path().join("store.redb"),
        copy.path().join("store.redb"),
    )
    .unwrap();
    let store = Store::open(copy.path(), Options::default()).unwrap();
    assert_eq!(get(&mut read(&store), "a").as_deref(), Some("1"));
}

/// What a power failure now would leave.
fn crash(disk: &Disk) -> Store {
    Store::on_storage(disk.without_power(), Options::default()).unwrap()
}

#[tokio::test]
async fn a_backup_has_what_is_on_the_disk() {
    let store = on(&Faults::default(), HOUR);
    set(&store, &[("a", "1")]).await;
    commit(&store, careful(&store)).await.unwrap();
    set(&store, &[("a", "2")]).await;
    let directory = tempfile::tempdir().unwrap();
    let view = store.view().unwrap();
    view.back_up(&directory.path().join("store.redb")).unwrap();
    let restored = Store::open(directory.path(), Options::default()).unwrap();
    assert_eq!(get(&mut read(&restored), "a").as_deref(), Some("1"));
}

#[tokio::test]
async fn events_are_delivered_only_from_the_disk() {
    let faults = Faults::default();
    let store = on(&faults, HOUR);
    let (sink, mut seen) = keys_sink();
    let sinks = vec![sink];
    let relay = Relay::start(&store, sinks, RelayOptions::default())
        .await
        .unwrap();
    let mut transaction = write(&store);
    transaction.publish("topic", "one", bytes("payload")).unwrap();
    commit(&store, transaction).await.unwrap();
    // Whatever the relay does meanwhile, it finds nothing.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(seen.try_recv().is_err());
    commit(&store, careful(&store)).await.unwrap();
    let delivered = tokio::time::timeout(PATIENCE, seen.recv()).await;
    assert_eq!(delivered.expect("delivered").as_deref(), Some("one"));
    relay.stop().await;
}

fn schedule(transaction: &mut Transaction, when: SystemTime) -> String {
    let id = transaction.schedule(when, "/order.v1.OrderTimers/Fire", bytes(""));
    id.unwrap().to_string()
}

fn counting(store: &Store) -> Timers {
    let plugin = Consumer::new(store, |_, transaction| {
        add_one(transaction, "fired");
        Ok(())
    });
    Timers::start(store, plugin, TimerOptions::default())
}

/// And what their calls do is on the disk when the host goes by it.
#[tokio::test]
async fn timers_are_called_only_from_the_disk() {
    let disk = Disk::new(1);
    let store = Store::on_storage(disk.clone(), relaxed(HOUR)).unwrap();
    // The first record of a log is brought to the disk, whoever waits for it.
    commit(&store, careful(&store)).await.unwrap();
    let timers = counting(&store);
    let mut transaction = write(&store);
    schedule(&mut transaction, SystemTime::now());
    commit(&store, transaction).await.unwrap();
    assert_eq!(store.deferred().first(&order(), 1).unwrap(), []);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(&mut read(&store), "fired"), None);
    commit(&store, careful(&store)).await.unwrap();
    eventually("it is called", || get(&mut read(&store), "fired").is_some()).await;
    let crashed = crash(&disk);
    assert_eq!(get(&mut read(&crashed), "fired").as_deref(), Some("1"));
    assert!(crashed.deferred().pending().is_empty());
    timers.stop().await;
}

/// The timer is found on the disk, and again and again, until the cancelling is there too.
#[tokio::test]
async fn a_cancelled_timer_is_not_called_although_it_is_still_on_the_disk() {
    let store = on(&Faults::default(), HOUR);
    let mut transaction = write(&store);
    let id = schedule(&mut transaction, SystemTime::now());
    commit(&store, transaction).await.unwrap();
    let mut transaction = write(&store);
    assert!(transaction.cancel(&id).unwrap());
    let other = schedule(&mut transaction, SystemTime::now() + HOUR);
    // The first is on the disk, and its end is not.
    commit(&store, careful(&store)).await.unwrap();
    commit(&store, transaction).await.unwrap();
    assert_eq!(store.deferred().first(&order(), 2).unwrap().len(), 1);
    assert_eq!(store.deferred().pending()[&order()].count, 1);

    let timers = counting(&store);
    let mut transaction = write(&store);
    assert!(transaction.cancel(&other).unwrap());
    schedule(&mut transaction, SystemTime::now());
    commit(&store, transaction).await.unwrap();
    commit(&store, careful(&store)).await.unwrap();
    eventually("the last is called", || get(&mut read(&store), "fired").is_some()).await;
    assert_eq!(get(&mut read(&store), "fired").as_deref(), Some("1"));
    assert!(store.deferred().pending().is_empty());
    timers.stop().await;
}
