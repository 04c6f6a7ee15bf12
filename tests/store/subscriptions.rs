//! Events delivered into a method of a plugin.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mortise::capability::Namespace;
use mortise::capability::caller::{Backoff, HostCall, NotMade};
use mortise::capability::events::{
    MAX_HOPS, Relay, RelayOptions, Sink, Subscription, SubscriptionOptions, TopicPattern,
};
use mortise::capability::store::{Access, CommitError, Errand, Options, Position, Store, Transaction};
use mortise::capability::timers::{TimerOptions, Timers};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::consumer::{Consumer, add_one};
use crate::support::*;

fn tally() -> Namespace {
    Namespace::new("tally").unwrap()
}

fn options() -> SubscriptionOptions {
    let pause = Duration::from_millis(1);
    SubscriptionOptions {
        name: "tally".into(),
        topics: vec![TopicPattern::parse("order.*").unwrap()],
        plugin: tally(),
        method: "/tally.v1.Tally/OnOrder".into(),
        max_concurrent: 4,
        max_attempts: 3,
        timeout: PATIENCE,
        backoff: Backoff {
            min: pause,
            max: pause,
        },
    }
}

struct Running {
    relay: Relay,
    stopping: watch::Sender<bool>,
}

impl Running {
    async fn start(store: &Store, consumer: Arc<Consumer>, options: SubscriptionOptions) -> Self {
        let stopping = watch::Sender::new(false);
        let subscription = Subscription::new(store, consumer, options, stopping.subscribe());
        let sinks: Vec<Box<dyn Sink>> = vec![Box::new(subscription)];
        let relay = Relay::start(store, sinks, RelayOptions::default()).await.unwrap();
        Self { relay, stopping }
    }

    fn delivered(&self) -> Position {
        self.relay.status()[0].delivered
    }

    async fn stop(self) {
        self.stopping.send_replace(true);
        tokio::time::timeout(PATIENCE, self.relay.stop()).await.unwrap();
    }
}

async fn publish(store: &Store, topic: &str, keys: &[&str]) -> u64 {
    let mut transaction = write(store);
    for (number, key) in keys.iter().enumerate() {
        transaction
            .publish(topic, key, bytes(&number.to_string()))
            .unwrap();
    }
    commit(store, transaction).await.unwrap().sequence.unwrap()
}

fn stored(store: &Store, key: &str) -> Option<String> {
    get(&mut store.begin(&tally(), Access::ReadOnly), key)
}

/// A consumer that counts events under their keys.
fn counting(store: &Store) -> Arc<Consumer> {
    Consumer::new(store, |call, transaction| {
        add_one(transaction, &call.event.as_ref().unwrap().key);
        Ok(())
    })
}

/// The same, except that events with the key `stuck` cannot be taken for now.
fn all_but_stuck(store: &Store) -> Arc<Consumer> {
    Consumer::new(store, |call, transaction| {
        let key = &call.event.as_ref().unwrap().key;
        if key == "stuck" {
            return Err(NotMade::NotNow("not loaded".into()));
        }
        add_one(transaction, key);
        Ok(())
    })
}

#[tokio::test]
async fn an_event_is_a_call_with_its_attributes() {
    let store = memory();
    let seen: Arc<Mutex<Vec<HostCall>>> = Arc::default();
    let consumer = Consumer::new(&store, {
        let seen = seen.clone();
        move |call, _| {
            seen.lock().push(call.clone());
            Ok(())
        }
    });
    let running = Running::start(&store, consumer, options()).await;
    publish(&store, "other.topic", &["passed over"]).await;
    let sequence = publish(&store, "order.created", &["a"]).await;
    eventually("delivery", || running.delivered().sequence == sequence).await;
    running.stop().await;
    let seen = seen.lock();
    assert_eq!(seen.len(), 1);
    let (call, event) = (&seen[0], seen[0].event.as_ref().unwrap());
    assert_eq!(
        (&call.plugin, &*call.method, &call.request[..], call.hops),
        (&tally(), "/tally.v1.Tally/OnOrder", &b"0"[..], 1)
    );
    assert_eq!(event.id, format!("order-{sequence}-0"));
    assert_eq!(
        [&*event.source, &event.topic, &event.key, &event.subscription],
        ["order", "order.created", "a", "tally"]
    );
    assert!(event.time.elapsed().unwrap() < PATIENCE);
}

#[tokio::test]
async fn events_of_one_key_come_in_order_although_some_fail_at_first() {
    let store = memory();
    let seen: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
    let failed: Arc<Mutex<Vec<String>>> = Arc::default();
    let consumer = Consumer::new(&store, {
        let (seen, failed) = (seen.clone(), failed.clone());
        move |call, transaction| {
            let id = call.event.as_ref().unwrap().id.clone();
            // Every other event fails once.
            if !failed.lock().contains(&id) {
                failed.lock().push(id.clone());
                if failed.lock().len() % 2 == 0 {
                    return Err(NotMade::Failed("again, please".into()));
                }
            }
            let key = &call.event.as_ref().unwrap().key;
            seen.lock().entry(key.clone()).or_default().push(id);
            add_one(transaction, key);
            Ok(())
        }
    });
    let running = Running::start(&store, consumer, options()).await;
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut last = 0;
    for _ in 0..20 {
        last = publish(&store, "order.created", &["a", "b", "a", "c"]).await;
        for (index, key) in ["a", "b", "a", "c"].into_iter().enumerate() {
            expected
                .entry(key.into())
                .or_default()
                .push(format!("order-{last}-{index}"));
        }
    }
    eventually("delivery", || running.delivered().sequence == last).await;
    running.stop().await;
    assert_eq!(*seen.lock(), expected);
    assert_eq!(stored(&store, "a").as_deref(), Some("40"));
    assert_eq!(store.deferred().dead().count, 0);
}

/// Whatever is repeated, its effect is there once.
#[tokio::test]
async fn what_is_settled_commits_with_the_consumers_writes() {
    let store = memory();
    let sequence = publish(&store, "order.created", &["a"]).await;
    let errand = |index| Errand::Event {
        sink: "subscription/tally".into(),
        position: Position { sequence, index },
    };
    let begin = |index| -> (Transaction, bool) {
        let mut transaction = store.begin(&tally(), Access::ReadWrite);
        let is_new = transaction.settle(&errand(index)).unwrap();
        (transaction, is_new)
    };
    let (mut first, is_new) = begin(0);
    let (mut twin, is_new_too) = begin(0);
    assert!(is_new && is_new_too);
    add_one(&mut first, "effect");
    add_one(&mut twin, "effect");
    commit(&store, first).await.unwrap();
    let refused = commit(&store, twin).await;
    assert!(matches!(refused, Err(CommitError::Conflict(_))), "{refused:?}");
    assert!(!begin(0).1, "it is acknowledged");
    assert!(begin(1).1, "another event is not");
    // A method without side effects settles what it is called for all the same.
    let mut reader = store.begin(&tally(), Access::ReadOnly);
    assert!(reader.settle(&errand(1)).unwrap());
    commit(&store, reader).await.unwrap();
    assert!(!begin(1).1);

    // Also when the cursor has passed it, and its acknowledgement is gone.
    let running = Running::start(&store, counting(&store), options()).await;
    let last = publish(&store, "order.created", &["b"]).await;
    eventually("delivery", || running.delivered().sequence == last).await;
    running.stop().await;
    assert!(!begin(0).1);
    assert_eq!(stored(&store, "a"), None, "it was settled before");
    assert_eq!(stored(&store, "effect").as_deref(), Some("1"));
}

#[tokio::test]
async fn an_event_that_keeps_failing_becomes_a_dead_letter_and_the_others_go_on() {
    let store = memory();
    let works = Arc::new(AtomicBool::new(false));
    let consumer = Consumer::new(&store, {
        let works = works.clone();
        move |call, transaction| {
            let key = &call.event.as_ref().unwrap().key;
            add_one(transaction, key);
            if key == "bad" && !works.load(Ordering::SeqCst) {
                return Err(NotMade::Failed("INTERNAL: cannot".into()));
            }
            Ok(())
        }
    });
    let running = Running::start(&store, consumer.clone(), options()).await;
    let last = publish(&store, "order.created", &["good", "bad", "good"]).await;
    eventually("delivery", || running.delivered().sequence == last).await;
    assert_eq!(
        (stored(&store, "good").as_deref(), stored(&store, "bad")),
        (Some("2"), None)
    );
    let calls = store.deferred();
    let letter = calls.dead_letters(None, 10).unwrap().entries.remove(0);
    let event = letter.call.event.as_ref().unwrap();
    assert_eq!(
        (&*event.key, letter.call.failures, letter.call.hops),
        ("bad", 3, 1)
    );
    assert_eq!(
        (&letter.call.request[..], &*letter.call.last_error),
        (&b"1"[..], "INTERNAL: cannot")
    );

    works.store(true, Ordering::SeqCst);
    let timers = Timers::start(&store, consumer, TimerOptions::default());
    assert!(calls.retry(&letter.id).await.unwrap());
    eventually("the retry", || stored(&store, "bad").as_deref() == Some("1")).await;
    assert_eq!(calls.dead().count, 0);
    timers.stop().await;
    running.stop().await;
}

#[tokio::test]
async fn a_loop_of_events_ends() {
    let store = memory();
    let consumer = Consumer::new(&store, |call, transaction| {
        add_one(transaction, "rounds");
        let (topic, key) = ("order.again", call.event.as_ref().unwrap().key.as_str());
        transaction.publish(topic, key, bytes("")).unwrap();
        Ok(())
    });
    let running = Running::start(&store, consumer, options()).await;
    publish(&store, "order.again", &["a"]).await;
    eventually("the end", || store.metrics().dead_letters.value() == 1).await;
    assert_eq!(stored(&store, "rounds"), Some(MAX_HOPS.to_string()));
    let letter = store.deferred().dead_letters(None, 1).unwrap().entries.remove(0);
    assert!(
        letter.call.last_error.contains("8 deliveries"),
        "{}",
        letter.call.last_error
    );
    running.stop().await;
}

/// A timer carries the hops on, else a loop could go through it.
#[tokio::test]
async fn a_loop_through_timers_ends_too() {
    let store = memory();
    let consumer = Consumer::new(&store, |call, transaction| {
        match &call.event {
            Some(_) => drop(
                transaction
                    .schedule(std::time::SystemTime::now(), "/a.B/C", bytes(""))
                    .unwrap(),
            ),
            None => {
                add_one(transaction, "rounds");
                transaction.publish("order.again", "a", bytes("")).unwrap();
            }
        }
        Ok(())
    });
    let running = Running::start(&store, consumer.clone(), options()).await;
    let timers = Timers::start(&store, consumer, TimerOptions::default());
    publish(&store, "order.again", &["a"]).await;
    eventually("the end", || store.metrics().dead_letters.value() == 1).await;
    assert_eq!(stored(&store, "rounds"), Some(MAX_HOPS.to_string()));
    timers.stop().await;
    running.stop().await;
}

#[tokio::test]
async fn delivery_goes_on_after_a_restart_and_nothing_has_an_effect_twice() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    // The first event of a batch fails for ever, the others of it are settled meanwhile.
    let stuck = all_but_stuck(&store);
    publish(&store, "order.created", &["stuck", "a", "b", "a"]).await;
    let running = Running::start(&store, stuck, options()).await;
    eventually("the others", || {
        stored(&store, "a").as_deref() == Some("2") && stored(&store, "b").is_some()
    })
    .await;
    running.stop().await;
    drop(store);

    let store = Store::open(directory.path(), Options::default()).unwrap();
    let running = Running::start(&store, counting(&store), options()).await;
    eventually("delivery", || running.delivered().index == 3).await;
    running.stop().await;
    let counts = ["stuck", "a", "b"].map(|key| stored(&store, key).unwrap());
    assert_eq!(counts, ["1", "2", "1"]);
}

#[tokio::test]
async fn a_subscription_that_is_gone_leaves_nothing_behind() {
    let store = memory();
    publish(&store, "order.created", &["stuck", "a"]).await;
    let stuck = all_but_stuck(&store);
    let running = Running::start(&store, stuck, options()).await;
    eventually("the other", || stored(&store, "a").is_some()).await;
    running.stop().await;
    // Under another name it is another subscription, which begins with what is still there.
    let renamed = SubscriptionOptions {
        name: "renamed".into(),
        ..options()
    };
    let running = Running::start(&store, counting(&store), renamed).await;
    eventually("delivery", || running.delivered().index == 1).await;
    assert_eq!(stored(&store, "a").as_deref(), Some("2"));
    running.stop().await;
}
