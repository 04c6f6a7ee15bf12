//! What commits with entries: events, answers and timers. And all of it, copied, closed and opened again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use mortise::capability::events::{Event, Relay, RelayOptions, Sink, SinkError};
use mortise::capability::store::{AnswerOptions, Options, Store, verify};
use tokio::sync::{Mutex, mpsc};

use crate::support::*;

use super::{all, other};

on_every_backend!(
    events_come_in_order_and_go_when_every_sink_has_them,
    sinks_that_are_gone_hold_nothing_back,
    answers_are_kept_for_a_time,
    timers_are_found_in_their_order,
    dead_letters_are_kept,
    what_is_withdrawn_is_not_there,
    a_state_can_be_copied_into_a_file,
    what_was_committed_outlasts_a_restart,
    a_closed_store_refuses,
);

fn recorder(name: &'static str) -> (Box<dyn Sink>, mpsc::UnboundedReceiver<Event>) {
    let (sender, seen) = mpsc::unbounded_channel();
    let sink = SinkFn(name, move |events: &[Event]| {
        events
            .iter()
            .for_each(|event| sender.send(event.clone()).unwrap());
        Ok(())
    });
    (Box::new(sink), seen)
}

async fn events_come_in_order_and_go_when_every_sink_has_them(place: Place) {
    let store = place.open();
    let ((one, mut seen), (two, mut seen_too)) = (recorder("one"), recorder("two"));
    let relay = Relay::start(&store, vec![one, two], RelayOptions::default());
    let relay = relay.await.unwrap();
    for number in 0..40 {
        let mut transaction = write(&store);
        for part in 0..3 {
            let key = format!("key/{}", part % 2);
            let payload = format!("{number}.{part}");
            transaction.publish("topic", &key, bytes(&payload)).unwrap();
        }
        commit(&store, transaction).await.unwrap();
    }
    for seen in [&mut seen, &mut seen_too] {
        let mut ids = Vec::new();
        for number in 0..40_u64 {
            for part in 0..3_u32 {
                let event = tokio::time::timeout(PATIENCE, seen.recv())
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!(event.payload, format!("{number}.{part}"));
                assert_eq!(
                    (event.position.sequence, event.position.index),
                    (number + 1, part)
                );
                assert_eq!(
                    (event.plugin.as_str(), event.key.as_str()),
                    ("order", ["key/0", "key/1"][part as usize % 2])
                );
                ids.push(event.id());
            }
        }
        ids.dedup();
        assert_eq!(ids.len(), 120);
    }
    let outbox = || {
        let stats = store.view().unwrap().stats();
        (stats.undelivered, stats.undelivered_bytes)
    };
    eventually("it is empty", || outbox() == (0, 0)).await;
    relay.stop().await;
}

async fn sinks_that_are_gone_hold_nothing_back(place: Place) {
    let store = place.open();
    let (sink, mut seen) = recorder("one");
    let failing = SinkFn("two", |_: &[Event]| Err(SinkError("it is down".into())));
    let relay = Relay::start(&store, vec![sink, Box::new(failing)], RelayOptions::default())
        .await
        .unwrap();
    let mut transaction = write(&store);
    transaction.publish("topic", "key", bytes("payload")).unwrap();
    commit(&store, transaction).await.unwrap();
    tokio::time::timeout(PATIENCE, seen.recv())
        .await
        .unwrap()
        .unwrap();
    let undelivered = || store.view().unwrap().stats().undelivered;
    assert_eq!(undelivered(), 1);
    relay.stop().await;
    let (sink, _seen) = recorder("one");
    let relay = Relay::start(&store, vec![sink], RelayOptions::default());
    let relay = relay.await.unwrap();
    eventually("it is dropped", || undelivered() == 0).await;
    relay.stop().await;
}

static SECONDS: AtomicU64 = AtomicU64::new(1_000_000);
/// The clock is one for the tests of all backends.
static CLOCK: Mutex<()> = Mutex::const_new(());

async fn answers_are_kept_for_a_time(place: Place) {
    let _mine = CLOCK.lock().await;
    let clock = || SystemTime::UNIX_EPOCH + Duration::from_secs(SECONDS.load(Ordering::SeqCst));
    let store = place.open_with(Options {
        answers: AnswerOptions {
            retention: Duration::from_secs(100),
            clock,
            ..AnswerOptions::default()
        },
        ..Options::default()
    });
    let record = async |key: u8, answer: &str| {
        let mut transaction = write(&store);
        transaction.recorded_answer([key; 32]).unwrap();
        transaction.record_answer(bytes(answer));
        commit(&store, transaction).await
    };
    let recorded = |key: u8| read(&store).recorded_answer([key; 32]).unwrap();
    record(1, "first").await.unwrap();
    // Both saw none: only one may record.
    let mut late = write(&store);
    late.recorded_answer([2; 32]).unwrap();
    record(2, "second").await.unwrap();
    late.record_answer(bytes("late"));
    assert!(is_conflict(&commit(&store, late).await));
    SECONDS.fetch_add(99, Ordering::SeqCst);
    record(3, "third").await.unwrap();
    assert_eq!(
        [1, 2, 3].map(recorded),
        ["first", "second", "third"].map(|a| Some(bytes(a)))
    );
    SECONDS.fetch_add(1, Ordering::SeqCst);
    assert_eq!([1, 2, 3].map(recorded), [None, None, Some(bytes("third"))]);
    // The key is free again, and any commit drops what has expired.
    record(1, "again").await.unwrap();
    assert_eq!(recorded(1), Some(bytes("again")));
    let usage = store.usage()[&order()];
    assert_eq!(usage.answers, 2);
}

async fn timers_are_found_in_their_order(place: Place) {
    let store = place.open();
    let begin = SystemTime::now() + Duration::from_secs(3_600);
    let mut ids = Vec::new();
    for second in [5, 1, 4, 2, 3] {
        let mut transaction = write(&store);
        let when = begin + Duration::from_secs(second);
        let id = transaction.schedule(when, "/order.v1.OrderTimers/Fire", bytes("request"));
        ids.push((second, id.unwrap()));
        commit(&store, transaction).await.unwrap();
    }
    ids.sort();
    let deferred = store.deferred();
    let first = deferred.first(&order(), 3).unwrap();
    let expected = ids
        .iter()
        .map(|(second, id)| (begin + Duration::from_secs(*second), id.clone()));
    assert_eq!(first, expected.take(3).collect::<Vec<_>>());
    let page = deferred.list(&order(), None, 3).unwrap();
    let rest = deferred.list(&order(), page.next.as_deref(), 3).unwrap();
    let listed = page
        .entries
        .iter()
        .chain(&rest.entries)
        .map(|call| call.id.clone());
    assert!(listed.eq(ids.iter().map(|(_, id)| id.clone())));
    assert_eq!((page.entries.len(), rest.next), (3, None));
    assert_eq!(
        deferred.get(&order(), &ids[0].1).unwrap().unwrap().request,
        "request"
    );
    // Whoever cancels, cancels once.
    let (mut one, mut two) = (write(&store), write(&store));
    assert!(one.cancel(ids[0].1.as_str()).unwrap());
    assert!(two.cancel(ids[0].1.as_str()).unwrap());
    commit(&store, one).await.unwrap();
    assert!(is_conflict(&commit(&store, two).await));
    assert!(!write(&store).cancel(ids[0].1.as_str()).unwrap());
    assert_eq!(deferred.pending()[&order()].count, 4);
    assert!(deferred.first(&other(), 3).unwrap().is_empty());
}

async fn dead_letters_are_kept(place: Place) {
    let store = place.open();
    let deferred = store.deferred();
    for _ in 0..3 {
        let mut transaction = write(&store);
        let id = transaction.schedule(SystemTime::now(), "/order.v1.OrderTimers/Fire", bytes("request"));
        let id = id.unwrap();
        commit(&store, transaction).await.unwrap();
        let call = deferred.get(&order(), &id).unwrap().unwrap();
        deferred
            .failed(&call, "it failed", 1, Duration::ZERO)
            .await
            .unwrap();
    }
    assert_eq!(deferred.dead().count, 3);
    assert!(deferred.pending().is_empty());
    let page = deferred.dead_letters(None, 2).unwrap();
    let rest = deferred.dead_letters(page.next.as_deref(), 2).unwrap();
    assert_eq!((page.entries.len(), rest.entries.len(), rest.next), (2, 1, None));
    assert_eq!(page.entries[0].call.last_error, "it failed");
    assert!(deferred.retry(&page.entries[0].id).await.unwrap());
    assert!(deferred.drop_dead_letter(&page.entries[1].id).await.unwrap());
    assert!(!deferred.drop_dead_letter(&page.entries[1].id).await.unwrap());
    assert_eq!(
        (deferred.dead().count, deferred.pending()[&order()].count),
        (1, 1)
    );
}

async fn what_is_withdrawn_is_not_there(place: Place) {
    let store = place.open();
    for number in 0..100 {
        let key = number.to_string();
        let mut transaction = write(&store);
        put(&mut transaction, &key, "1");
        let there = match store.commit(transaction).withdraw() {
            Ok(()) => false,
            Err(accepted) => accepted.await.is_ok(),
        };
        // What comes later is after it.
        set(&store, &[("later", &key)]).await;
        assert_eq!(get(&mut read(&store), &key).is_some(), there);
    }
}

async fn fill(store: &Store) {
    for number in 0..30_u8 {
        let mut transaction = write(store);
        transaction.recorded_answer([number; 32]).unwrap();
        let value = "v".repeat(usize::from(number) * 100);
        put(&mut transaction, &format!("key/{number:02}"), &value);
        transaction.publish("topic", "key", bytes("payload")).unwrap();
        let when = SystemTime::now() + Duration::from_secs(3_600);
        let scheduled = transaction.schedule(when, "/order.v1.OrderTimers/Fire", bytes("request"));
        scheduled.unwrap();
        transaction.record_answer(bytes(&number.to_string()));
        commit(store, transaction).await.unwrap();
    }
}

/// All that [`fill`] has left.
fn assert_filled(store: &Store, like: &Store) {
    assert_eq!(all(store), all(like));
    assert_eq!(store.usage(), like.usage());
    assert_eq!(store.deferred().pending(), like.deferred().pending());
    let timers = |store: &Store| store.deferred().list(&order(), None, 100).unwrap().entries;
    assert_eq!(timers(store), timers(like));
    let stats = [store, like].map(|store| store.view().unwrap().stats());
    let [here, there] = stats.map(|stats| (stats.sequence, stats.undelivered, stats.undelivered_bytes));
    assert_eq!(here, there);
    for number in 0..30_u8 {
        let answer = read(store).recorded_answer([number; 32]).unwrap();
        assert_eq!(answer, Some(bytes(&number.to_string())));
    }
}

async fn a_state_can_be_copied_into_a_file(place: Place) {
    let store = place.open();
    fill(&store).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.redb");
    store.view().unwrap().back_up(&file).unwrap();
    assert_eq!(verify(folder.path(), &Options::default()).unwrap(), []);
    let copy = Store::open(folder.path(), Options::default()).unwrap();
    assert_filled(&copy, &store);
    assert_eq!(set(&copy, &[("later", "1")]).await, 31);
}

async fn what_was_committed_outlasts_a_restart(place: Place) {
    if !place.lasts() {
        return;
    }
    let first = place.open();
    fill(&first).await;
    let view = first.view().unwrap().stats();
    let entries = all(&first);
    let pending = first.deferred().list(&order(), None, 100).unwrap();
    first.close();
    let again = place.open();
    assert_eq!(all(&again), entries);
    assert_eq!(again.usage(), view.usage);
    assert_eq!(again.deferred().list(&order(), None, 100).unwrap(), pending);
    let stats = again.view().unwrap().stats();
    assert_eq!(
        (stats.sequence, stats.undelivered),
        (view.sequence, view.undelivered)
    );
    assert_eq!(stats.undelivered_bytes, view.undelivered_bytes);
    assert_eq!(set(&again, &[("later", "1")]).await, view.sequence + 1);
}

async fn a_closed_store_refuses(place: Place) {
    let store = place.open();
    set(&store, &[("a", "1")]).await;
    let mut reader = read(&store);
    get(&mut reader, "a");
    let mut writer = write(&store);
    put(&mut writer, "a", "2");
    store.close();
    reader.get(b"a").unwrap_err();
    store.view().map(drop).unwrap_err();
    commit(&store, writer).await.unwrap_err();
}
