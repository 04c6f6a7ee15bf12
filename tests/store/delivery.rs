//! Events from the transaction that publishes them to the sinks.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mortise::capability::events::{Event, JsonLines, Log, Relay, RelayError, RelayOptions, Sink, SinkError};
use mortise::capability::store::{CommitError, Options, Store};
use parking_lot::Mutex;
use serde_json::Value;

use crate::support::*;

fn options() -> RelayOptions {
    let pause = Duration::from_millis(1);
    RelayOptions {
        min_backoff: pause,
        max_backoff: pause,
        max_batch_events: 3,
        ..RelayOptions::default()
    }
}

/// Publishes, in one transaction, an event per key.
async fn publish(store: &Store, keys: &[&str]) -> Result<u64, CommitError> {
    let mut transaction = write(store);
    for key in keys {
        transaction.publish("order.created", key, bytes(key)).unwrap();
    }
    commit(store, transaction)
        .await
        .map(|committed| committed.sequence.unwrap())
}

type Seen = Arc<Mutex<Vec<Event>>>;

fn collector(name: &'static str) -> (Seen, Box<dyn Sink>) {
    let seen = Seen::default();
    let sink = SinkFn(name, {
        let seen = seen.clone();
        move |events: &[Event]| {
            seen.lock().extend_from_slice(events);
            Ok(())
        }
    });
    (seen, Box::new(sink))
}

fn keys_of(seen: &Seen) -> Vec<String> {
    seen.lock().iter().map(|event| event.key.clone()).collect()
}

#[tokio::test]
async fn events_arrive_in_order_with_stable_ids() {
    let store = memory();
    let first = publish(&store, &["a", "b"]).await.unwrap();
    let (seen, sink) = collector("test");
    let relay = Relay::start(&store, vec![sink], options()).await.unwrap();
    let second = publish(&store, &["c", "d", "e"]).await.unwrap();
    eventually("delivery", || seen.lock().len() == 5).await;
    let ids: Vec<_> = seen.lock().iter().map(Event::id).collect();
    let id = |sequence: u64, index: u32| format!("order-{sequence}-{index}");
    assert_eq!(
        ids,
        [
            id(first, 0),
            id(first, 1),
            id(second, 0),
            id(second, 1),
            id(second, 2)
        ]
    );
    assert_eq!(keys_of(&seen), ["a", "b", "c", "d", "e"]);
    let event = seen.lock()[0].clone();
    assert_eq!(
        (&*event.plugin, &*event.topic, &event.payload[..]),
        ("order", "order.created", &b"a"[..])
    );
    assert!(event.time.elapsed().unwrap() < PATIENCE);
    relay.stop().await;
}

#[tokio::test]
async fn events_of_transactions_that_do_not_commit_are_never_seen() {
    let store = memory();
    set(&store, &[("n", "0")]).await;
    let mut loser = write(&store);
    get(&mut loser, "n");
    loser.publish("order.created", "lost", bytes("")).unwrap();
    set(&store, &[("n", "1")]).await;
    commit(&store, loser).await.unwrap_err();
    let mut dropped = write(&store);
    dropped.publish("order.created", "dropped", bytes("")).unwrap();
    drop(dropped);
    publish(&store, &["kept"]).await.unwrap();

    let (seen, sink) = collector("test");
    let relay = Relay::start(&store, vec![sink], options()).await.unwrap();
    eventually("delivery", || !seen.lock().is_empty()).await;
    relay.stop().await;
    assert_eq!(keys_of(&seen), ["kept"]);
}

#[tokio::test]
async fn a_sink_that_fails_gets_everything_later_and_delays_no_other() {
    let store = memory();
    let working = Arc::new(AtomicBool::new(false));
    let attempts = Arc::new(AtomicUsize::new(0));
    let seen = Seen::default();
    let flaky = SinkFn("flaky", {
        let (working, attempts, seen) = (working.clone(), attempts.clone(), seen.clone());
        move |events: &[Event]| {
            attempts.fetch_add(1, Ordering::SeqCst);
            if !working.load(Ordering::SeqCst) {
                return Err(SinkError("not now".to_owned()));
            }
            seen.lock().extend_from_slice(events);
            Ok(())
        }
    });
    let (steady_seen, steady) = collector("steady");
    let relay = Relay::start(&store, vec![Box::new(flaky), steady], options())
        .await
        .unwrap();
    publish(&store, &["a", "b", "c", "d"]).await.unwrap();
    eventually("attempts", || attempts.load(Ordering::SeqCst) > 3).await;
    eventually("delivery to the other", || steady_seen.lock().len() == 4).await;
    let status = &relay.status()[0];
    assert!(status.failures > 0);
    assert_eq!(
        (&*status.name, status.last_error.as_deref()),
        ("flaky", Some("not now"))
    );

    working.store(true, Ordering::SeqCst);
    eventually("delivery", || seen.lock().len() == 4).await;
    assert_eq!(keys_of(&seen), ["a", "b", "c", "d"]);
    eventually("recovery", || relay.status()[0].failures == 0).await;
    assert_eq!(relay.status()[0].last_error, None);
    relay.stop().await;
}

#[tokio::test]
async fn delivery_goes_on_after_a_restart_from_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    publish(&store, &["a", "b"]).await.unwrap();
    let (seen, sink) = collector("test");
    let relay = Relay::start(&store, vec![sink], options()).await.unwrap();
    eventually("delivery", || seen.lock().len() == 2).await;
    // Ends when the acknowledgement of that batch is durable, too.
    relay.stop().await;
    publish(&store, &["c"]).await.unwrap();
    drop(store);

    let store = Store::open(directory.path(), Options::default()).unwrap();
    let (seen, sink) = collector("test");
    let relay = Relay::start(&store, vec![sink], options()).await.unwrap();
    eventually("delivery", || !seen.lock().is_empty()).await;
    relay.stop().await;
    assert_eq!(keys_of(&seen), ["c"]);
}

#[tokio::test]
async fn an_event_stays_until_every_sink_has_it_and_a_sink_that_is_gone_holds_nothing_back() {
    let store = Store::in_memory(Options {
        max_outbox_entries: 2,
        ..Options::default()
    })
    .unwrap();
    let (_, fast) = collector("fast");
    let stuck = SinkFn("stuck", |_: &[Event]| Err(SinkError("never".to_owned())));
    let relay = Relay::start(&store, vec![fast, Box::new(stuck)], options())
        .await
        .unwrap();
    publish(&store, &["a", "b"]).await.unwrap();
    let refused = publish(&store, &["c"]).await.unwrap_err();
    assert_eq!(refused, CommitError::Unavailable("the outbox of events is full"));
    set(&store, &[("writes without events", "go on")]).await;
    relay.stop().await;

    let (seen, fast) = collector("fast");
    let relay = Relay::start(&store, vec![fast], options()).await.unwrap();
    eventually("room in the outbox", || relay.status()[0].delivered.index == 1).await;
    publish(&store, &["d", "e"]).await.unwrap();
    eventually("delivery", || {
        keys_of(&seen).ends_with(&["d".to_owned(), "e".to_owned()])
    })
    .await;
    relay.stop().await;
}

#[tokio::test]
async fn the_outbox_is_bounded_in_bytes_and_trimming_makes_room() {
    let store = Store::in_memory(Options {
        max_outbox_bytes: 1_000,
        ..Options::default()
    })
    .unwrap();
    let large = |key: &str| {
        let mut transaction = write(&store);
        transaction.publish("t", key, bytes(&"x".repeat(600))).unwrap();
        store.commit(transaction)
    };
    large("a").await.unwrap();
    assert!(matches!(large("b").await, Err(CommitError::Unavailable(_))));
    let (seen, sink) = collector("test");
    let relay = Relay::start(&store, vec![sink], options()).await.unwrap();
    for (delivered, key) in (1..).zip(["c", "d", "e"]) {
        eventually("delivery", || seen.lock().len() == delivered).await;
        // Delivered is not yet trimmed: the acknowledgement may still be on its way.
        while large(key).await.is_err() {}
    }
    relay.stop().await;
}

#[tokio::test]
async fn sinks_need_names_of_their_own() {
    let store = memory();
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(Log), Box::new(Log)];
    let error = Relay::start(&store, sinks, options()).await.unwrap_err();
    assert_eq!(error, RelayError::SameName("log".to_owned()));
}

#[tokio::test]
async fn the_relay_ends_with_the_store() {
    let store = memory();
    let (_, sink) = collector("test");
    let relay = Relay::start(&store, vec![sink], options()).await.unwrap();
    store.close();
    tokio::time::timeout(PATIENCE, relay.stop()).await.unwrap();
    let (_, sink) = collector("test");
    assert!(matches!(
        Relay::start(&store, vec![sink], options()).await,
        Err(RelayError::Attach(_))
    ));
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn relay_to(store: &Store, path: &Path) -> Relay {
    let sink = JsonLines::open(path).unwrap();
    Relay::start(store, vec![Box::new(sink)], options())
        .await
        .unwrap()
}

#[tokio::test]
async fn the_file_has_a_json_object_per_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let store = memory();
    let relay = relay_to(&store, &path).await;
    let mut transaction = write(&store);
    transaction
        .publish("order.created", "line\nfeed \"quoted\"", bytes("hello"))
        .unwrap();
    let sequence = commit(&store, transaction).await.unwrap().sequence.unwrap();
    eventually("delivery", || relay.status()[0].delivered.sequence == sequence).await;
    relay.stop().await;

    let lines = lines(&path);
    assert_eq!(lines.len(), 1);
    let line = lines[0].as_object().unwrap();
    let time = humantime::parse_rfc3339(line["time"].as_str().unwrap()).unwrap();
    assert!(time.elapsed().unwrap() < PATIENCE);
    assert_eq!(line["id"], format!("order-{sequence}-0"));
    assert_eq!(line["plugin"], "order");
    assert_eq!(line["topic"], "order.created");
    assert_eq!(line["key"], "line\nfeed \"quoted\"");
    assert_eq!(line["payload"], "aGVsbG8=");
    assert_eq!(line.len(), 6);
}

#[tokio::test]
async fn an_incomplete_last_line_is_removed_and_the_rest_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let torn = "x".repeat(20_000);
    for (found, kept) in [
        ("", ""),
        ("{}\n", "{}\n"),
        ("{}\n{\"id", "{}\n"),
        ("{\"id", ""),
        (&*torn, ""),
    ] {
        fs::write(&path, found).unwrap();
        JsonLines::open(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
    }
    fs::write(&path, format!("{{}}\n{torn}")).unwrap();
    let store = memory();
    let relay = relay_to(&store, &path).await;
    publish(&store, &["a"]).await.unwrap();
    eventually("delivery", || relay.status()[0].delivered.sequence == 1).await;
    relay.stop().await;
    assert_eq!(lines(&path).len(), 2);
}
