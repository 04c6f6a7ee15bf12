//! Timers, from the transaction that schedules them to the call that is made once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mortise::capability::ErrorKind;
use mortise::capability::caller::{Backoff, NotMade};
use mortise::capability::store::{
    Access, CallId, CommitError, DeferredBounds, Errand, Options, Store, Transaction,
};
use mortise::capability::timers::{TimerOptions, Timers};

use crate::consumer::{Consumer, add_one};
use crate::support::*;

const METHOD: &str = "/order.v1.OrderTimers/CancelUnpaid";
const HOUR: Duration = Duration::from_secs(3600);

fn options() -> TimerOptions {
    let pause = Duration::from_millis(1);
    TimerOptions {
        max_attempts: 3,
        backoff: Backoff {
            min: pause,
            max: pause,
        },
        ..TimerOptions::default()
    }
}

fn schedule(transaction: &mut Transaction, when: SystemTime, request: &str) -> CallId {
    transaction.schedule(when, METHOD, bytes(request)).unwrap()
}

/// Schedules one call, and commits.
async fn scheduled(store: &Store, when: SystemTime, request: &str) -> CallId {
    let mut transaction = write(store);
    let id = schedule(&mut transaction, when, request);
    commit(store, transaction).await.unwrap();
    id
}

/// A plugin that counts its calls under their requests.
fn counting(store: &Store) -> Arc<Consumer> {
    Consumer::new(store, |call, transaction| {
        assert_eq!((&*call.method, call.event.as_ref()), (METHOD, None));
        let request = String::from_utf8(call.request.to_vec()).unwrap();
        add_one(transaction, &request);
        Ok(())
    })
}

fn count(store: &Store, request: &str) -> Option<String> {
    get(&mut read(store), request)
}

fn pending(store: &Store) -> Vec<String> {
    let page = store.deferred().list(&order(), None, 1_000).unwrap();
    let requests = page.entries.into_iter().map(|call| call.request);
    requests
        .map(|request| String::from_utf8(request.to_vec()).unwrap())
        .collect()
}

fn usage(store: &Store) -> (u64, u64) {
    let pending = store.deferred().pending();
    pending
        .get(&order())
        .map_or((0, 0), |amount| (amount.count, amount.bytes))
}

#[tokio::test]
async fn what_is_due_is_called_once_and_what_is_not_waits() {
    let store = memory();
    let now = SystemTime::now();
    scheduled(&store, now - HOUR, "past").await;
    scheduled(&store, now + HOUR, "later").await;
    let timers = Timers::start(&store, counting(&store), options());
    scheduled(&store, now + Duration::from_millis(20), "soon").await;
    eventually("both calls", || {
        count(&store, "past").is_some() && count(&store, "soon").is_some()
    })
    .await;
    let metrics = timers.metrics();
    timers.stop().await;
    assert_eq!(count(&store, "past").as_deref(), Some("1"));
    assert_eq!(count(&store, "soon").as_deref(), Some("1"));
    assert_eq!((pending(&store), usage(&store).0), (vec!["later".to_owned()], 1));
    assert_eq!(metrics.counts()[&order()].fired, 2);
}

#[tokio::test]
async fn a_timer_exists_if_and_only_if_its_call_commits() {
    let store = memory();
    set(&store, &[("n", "0")]).await;
    let mut loser = write(&store);
    get(&mut loser, "n");
    schedule(&mut loser, SystemTime::now(), "lost");
    set(&store, &[("n", "1")]).await;
    assert_eq!(commit(&store, loser).await, Err(CommitError::Conflict(None)));
    let mut dropped = write(&store);
    schedule(&mut dropped, SystemTime::now(), "dropped");
    drop(dropped);
    assert_eq!((pending(&store), usage(&store)), (Vec::new(), (0, 0)));
}

#[tokio::test]
async fn a_timer_is_cancelled_also_in_the_call_that_scheduled_it() {
    let store = memory();
    let id = scheduled(&store, SystemTime::now() + HOUR, "cancelled").await;
    let mut transaction = write(&store);
    let own = schedule(&mut transaction, SystemTime::now(), "own");
    assert!(transaction.cancel(own.as_str()).unwrap());
    assert!(!transaction.cancel(own.as_str()).unwrap(), "it is gone");
    assert!(transaction.cancel(id.as_str()).unwrap());
    for unknown in ["", "x", &"0".repeat(32), &"é".repeat(16)] {
        assert!(!transaction.cancel(unknown).unwrap());
    }
    commit(&store, transaction).await.unwrap();
    assert_eq!((pending(&store), usage(&store)), (Vec::new(), (0, 0)));

    let mut other = store.begin(
        &mortise::capability::Namespace::new("other").unwrap(),
        Access::ReadWrite,
    );
    let id = scheduled(&store, SystemTime::now() + HOUR, "kept").await;
    assert!(!other.cancel(id.as_str()).unwrap(), "it is another plugin's");
}

/// Whichever commits first: never both.
#[tokio::test]
async fn a_timer_is_cancelled_or_called_and_never_both() {
    let store = memory();
    let id = scheduled(&store, SystemTime::now(), "raced").await;
    let errand = Errand::Deferred(id.clone());
    let (mut call, mut cancel) = (write(&store), write(&store));
    assert!(call.settle(&errand).unwrap());
    put(&mut call, "effect", "there");
    assert!(cancel.cancel(id.as_str()).unwrap());
    commit(&store, cancel).await.unwrap();
    assert_eq!(commit(&store, call).await, Err(CommitError::Conflict(None)));
    assert!(!write(&store).settle(&errand).unwrap());
    assert_eq!(count(&store, "effect"), None);

    let id = scheduled(&store, SystemTime::now(), "raced").await;
    let errand = Errand::Deferred(id.clone());
    let (mut call, mut twin, mut cancel) = (write(&store), write(&store), write(&store));
    assert!(call.settle(&errand).unwrap() && twin.settle(&errand).unwrap());
    assert!(cancel.cancel(id.as_str()).unwrap());
    commit(&store, call).await.unwrap();
    assert_eq!(commit(&store, twin).await, Err(CommitError::Conflict(None)));
    assert_eq!(commit(&store, cancel).await, Err(CommitError::Conflict(None)));
}

#[tokio::test]
async fn bounds_are_named_when_they_are_passed() {
    let deferred = DeferredBounds {
        max_per_call: 2,
        max_request_bytes: 8,
        max_pending: 3,
        max_pending_bytes: 10_000,
        ..DeferredBounds::default()
    };
    let store = Store::in_memory(Options {
        deferred,
        ..Options::default()
    })
    .unwrap();
    let later = SystemTime::now() + HOUR;
    let mut first = write(&store);
    exceeds(first.schedule(later, METHOD, bytes("123456789")), 8);
    schedule(&mut first, later, "a");
    schedule(&mut first, later, "b");
    exceeds(first.schedule(later, METHOD, Bytes::new()), 2);
    let mut rival = write(&store);
    schedule(&mut rival, later, "c");
    schedule(&mut rival, later, "d");
    commit(&store, first).await.unwrap();
    // Nobody could know it while it ran.
    let full = CommitError::Unavailable("the plugin has too many timers pending");
    assert_eq!(commit(&store, rival).await, Err(full));
    scheduled(&store, later, "e").await;
    exceeds(write(&store).schedule(later, METHOD, Bytes::new()), 3);
    // What takes away is let through, and what settles.
    let (_, id) = store.deferred().first(&order(), 1).unwrap().remove(0);
    let mut cancel = write(&store);
    assert!(cancel.cancel(id.as_str()).unwrap());
    commit(&store, cancel).await.unwrap();
    scheduled(&store, later, "f").await;

    let small = DeferredBounds {
        max_pending_bytes: 64,
        ..DeferredBounds::default()
    };
    let store = Store::in_memory(Options {
        deferred: small,
        ..Options::default()
    })
    .unwrap();
    scheduled(&store, later, "").await;
    exceeds(write(&store).schedule(later, METHOD, Bytes::new()), 64);
    let refused = read(&store).schedule(later, METHOD, Bytes::new()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnly);
    assert_eq!(read(&store).cancel("").unwrap_err().kind(), ErrorKind::ReadOnly);
}

#[tokio::test]
async fn a_call_that_fails_is_made_again_then_given_up_then_retried_or_dropped() {
    let store = memory();
    let works = Arc::new(AtomicBool::new(false));
    let attempts = Arc::new(AtomicUsize::new(0));
    let consumer = {
        let (works, attempts) = (works.clone(), attempts.clone());
        Consumer::new(&store, move |_, transaction| {
            attempts.fetch_add(1, Ordering::SeqCst);
            add_one(transaction, "effect");
            match works.load(Ordering::SeqCst) {
                true => Ok(()),
                false => Err(NotMade::Failed("NOT_FOUND: no such order".into())),
            }
        })
    };
    let timers = Timers::start(&store, consumer, options());
    let before = SystemTime::now();
    scheduled(&store, before, "one").await;
    scheduled(&store, before, "two").await;
    let calls = store.deferred();
    eventually("both given up", || store.metrics().dead_letters.value() == 2).await;
    assert_eq!(calls.dead().count, 2);
    assert_eq!((attempts.load(Ordering::SeqCst), usage(&store)), (6, (0, 0)));
    assert_eq!(count(&store, "effect"), None, "a call that fails leaves nothing");
    assert_eq!(timers.metrics().counts()[&order()].failed, 6);

    let page = calls.dead_letters(None, 1).unwrap();
    let next = page.next.expect("there is another");
    let rest = calls.dead_letters(Some(&next), 1).unwrap();
    assert_eq!((page.entries.len(), rest.entries.len(), rest.next), (1, 1, None));
    let (one, two) = (&page.entries[0], &rest.entries[0]);
    assert!(one.died >= before && one.id < two.id);
    assert_eq!(
        (one.call.failures, &*one.call.last_error, &*one.call.method),
        (3, "NOT_FOUND: no such order", METHOD)
    );
    assert!(calls.dead_letters(Some("forged"), 1).is_err());

    works.store(true, Ordering::SeqCst);
    assert!(calls.retry(&one.id).await.unwrap());
    assert!(
        !calls.retry(&one.id).await.unwrap(),
        "it is no dead letter any more"
    );
    eventually("the call", || count(&store, "effect").is_some()).await;
    assert!(calls.drop_dead_letter(&two.id).await.unwrap());
    assert!(!calls.drop_dead_letter(&two.id).await.unwrap());
    assert_eq!((calls.dead().count, calls.dead().bytes), (0, 0));
    timers.stop().await;
    assert_eq!(count(&store, "effect").as_deref(), Some("1"));
}

#[tokio::test]
async fn the_oldest_dead_letters_make_way() {
    let deferred = DeferredBounds {
        max_dead_letters: 2,
        ..DeferredBounds::default()
    };
    let store = Store::in_memory(Options {
        deferred,
        ..Options::default()
    })
    .unwrap();
    let failing = Consumer::new(&store, |_, _| Err(NotMade::Failed("never".into())));
    let once = TimerOptions {
        max_attempts: 1,
        ..options()
    };
    let timers = Timers::start(&store, failing, once);
    for (given_up, request) in (1..).zip(["a", "b", "c", "d"]) {
        scheduled(&store, SystemTime::now(), request).await;
        eventually("it is given up", || {
            store.metrics().dead_letters.value() == given_up
        })
        .await;
    }
    let page = store.deferred().dead_letters(None, 10).unwrap();
    let requests: Vec<_> = page
        .entries
        .iter()
        .map(|letter| &letter.call.request[..])
        .collect();
    assert_eq!(requests, [b"c", b"d"]);
    assert_eq!(store.metrics().dead_letters_dropped.value(), 2);
    timers.stop().await;
}

#[tokio::test]
async fn a_call_that_cannot_be_made_now_waits_and_is_not_given_up() {
    let store = memory();
    let tries = Arc::new(AtomicUsize::new(0));
    let consumer = {
        let tries = tries.clone();
        Consumer::new(&store, move |_, transaction| {
            if tries.fetch_add(1, Ordering::SeqCst) < 5 {
                return Err(NotMade::NotNow("plugin order is not loaded".into()));
            }
            add_one(transaction, "effect");
            Ok(())
        })
    };
    let once = TimerOptions {
        max_attempts: 1,
        ..options()
    };
    let timers = Timers::start(&store, consumer, once);
    scheduled(&store, SystemTime::now(), "").await;
    eventually("the call", || count(&store, "effect").is_some()).await;
    timers.stop().await;
    assert_eq!(store.deferred().dead().count, 0);
}

#[tokio::test]
async fn what_is_pending_and_what_is_dead_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    let failing = Consumer::new(&store, |_, _| Err(NotMade::Failed("never".into())));
    let timers = Timers::start(&store, failing, options());
    scheduled(&store, SystemTime::now(), "dead").await;
    eventually("given up", || store.metrics().dead_letters.value() == 1).await;
    timers.stop().await;
    scheduled(&store, SystemTime::now() + HOUR, "later").await;
    scheduled(&store, SystemTime::now(), "due").await;
    let (before, dead) = (usage(&store), store.deferred().dead());
    drop(store);

    let store = Store::open(directory.path(), Options::default()).unwrap();
    assert_eq!((usage(&store), store.deferred().dead()), (before, dead));
    assert_eq!(pending(&store), ["due", "later"], "in the order of time");
    let timers = Timers::start(&store, counting(&store), options());
    eventually("the call", || count(&store, "due").is_some()).await;
    timers.stop().await;
    assert_eq!(pending(&store), ["later"]);
}

#[tokio::test]
async fn one_plugin_with_much_to_do_leaves_another_its_turn() {
    let store = memory();
    let other = mortise::capability::Namespace::new("other").unwrap();
    let blocked = Consumer::new(&store, {
        let other = other.clone();
        move |call, transaction| {
            if call.plugin == other {
                add_one(transaction, "effect");
                return Ok(());
            }
            Err(NotMade::NotNow("not loaded".into()))
        }
    });
    let timers = Timers::start(&store, blocked, options());
    for _ in 0..100 {
        scheduled(&store, SystemTime::now(), "").await;
    }
    let mut transaction = store.begin(&other, Access::ReadWrite);
    schedule(&mut transaction, SystemTime::now(), "");
    commit(&store, transaction).await.unwrap();
    eventually("the other's call", || {
        get(&mut store.begin(&other, Access::ReadOnly), "effect").is_some()
    })
    .await;
    assert_eq!(usage(&store).0, 100);
    timers.stop().await;
}

#[tokio::test]
async fn pages_of_what_is_pending_follow_each_other() {
    let store = memory();
    let now = SystemTime::now() + HOUR;
    for (hour, request) in (0..).zip(["a", "b", "c", "d", "e"]) {
        scheduled(&store, now + hour * HOUR, request).await;
    }
    let calls = store.deferred();
    let (mut seen, mut next) = (Vec::new(), None);
    loop {
        let page = calls.list(&order(), next.as_deref(), 2).unwrap();
        seen.extend(page.entries.into_iter().map(|call| call.request));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"].map(bytes));
    assert!(calls.list(&order(), Some("forged"), 2).is_err());
    let id = calls.first(&order(), 1).unwrap().remove(0).1;
    assert!(calls.cancel(&order(), &id).await.unwrap());
    assert!(!calls.cancel(&order(), &id).await.unwrap());
    assert_eq!(pending(&store).len(), 4);
}
