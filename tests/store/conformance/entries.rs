//! Plugins' entries, and the commits that change them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mortise::capability::store::{Access, Direction, Entry, Options, PluginOptions, Quota, Range, Store};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::*;

use super::{all, other};

on_every_backend!(
    a_state_stays_as_it_was,
    keys_are_ordered_by_their_bytes,
    pages_of_a_range_are_the_range,
    staged_writes_are_part_of_a_scan,
    tables_are_apart,
    versions_are_those_of_the_commits,
    a_transaction_is_whole_or_not_at_all,
    commits_of_one_batch_follow_each_other,
    usage_is_counted_exactly,
    a_quota_holds,
);

async fn a_state_stays_as_it_was(place: Place) {
    let store = place.open();
    set(&store, &[("a", "1"), ("b", "1")]).await;
    let mut before = read(&store);
    assert_eq!(get(&mut before, "a").as_deref(), Some("1"));
    let view = store.view().unwrap();
    for number in 0..50 {
        let mut transaction = write(&store);
        put(&mut transaction, "a", &format!("changed {number}"));
        put(&mut transaction, &format!("new/{number}"), "1");
        transaction.delete(b"b").unwrap();
        commit(&store, transaction).await.unwrap();
    }
    assert_eq!(get(&mut before, "b").as_deref(), Some("1"));
    let page = before.scan(&everything()).await.unwrap();
    assert_eq!(keys(&page.entries), ["a", "b"]);
    let page = view.read(&order()).unwrap().scan(&everything()).await.unwrap();
    assert_eq!(keys(&page.entries), ["a", "b"]);
    assert_eq!(view.stats().usage[&order()].keys, 2);
    assert_eq!(get(&mut read(&store), "b"), None);
    assert_eq!(all(&store).len(), 51);
}

const ODD_KEYS: [&[u8]; 9] = [
    b"",
    b"\0",
    b"\0\0",
    b"a",
    b"a\0",
    b"aa",
    b"b",
    b"\xc3\xa4",
    b"\xff\xff",
];

async fn keys_are_ordered_by_their_bytes(place: Place) {
    let store = place.open();
    let mut transaction = write(&store);
    for key in ODD_KEYS.iter().rev() {
        transaction.put(key, Bytes::from_static(key)).unwrap();
    }
    commit(&store, transaction).await.unwrap();
    let mut reader = read(&store);
    for direction in [Direction::Ascending, Direction::Descending] {
        let page = reader.scan(&range("", None, direction, 100)).await.unwrap();
        let mut found: Vec<_> = page.entries.iter().map(|entry| entry.key.clone()).collect();
        if direction == Direction::Descending {
            found.reverse();
        }
        assert_eq!(found, ODD_KEYS, "{direction:?}");
    }
    for key in ODD_KEYS {
        assert_eq!(reader.get(key).unwrap().unwrap().value, key);
    }
    assert_eq!(reader.get(b"\0\0\0").unwrap(), None);
}

/// Every entry of `range`, page by page.
async fn pages(store: &Store, mut range: Range) -> Vec<Entry> {
    let mut reader = read(store);
    let mut entries = Vec::new();
    loop {
        let page = reader.scan(&range).await.unwrap();
        assert!(page.entries.len() <= range.limit as usize);
        entries.extend(page.entries);
        range.cursor = page.cursor;
        if range.cursor.is_none() {
            return entries;
        }
    }
}

async fn pages_of_a_range_are_the_range(place: Place) {
    let store = place.open();
    let mut random = StdRng::seed_from_u64(1);
    let mut model = BTreeMap::new();
    for number in 0..8 {
        let mut transaction = write(&store);
        for _ in 0..40 {
            let key = Bytes::from(random.random_range(0..500).to_string());
            if random.random_bool(0.3) {
                transaction.delete(&key).unwrap();
                model.remove(&key);
            } else {
                let value = Bytes::from(vec![number; random.random_range(0..2_000)]);
                transaction.put(&key, value.clone()).unwrap();
                model.insert(key, value);
            }
        }
        commit(&store, transaction).await.unwrap();
    }
    for _ in 0..100 {
        let mut bounds = [0; 2].map(|_| Bytes::from(random.random_range(0..500).to_string()));
        bounds.sort();
        let [start, end] = bounds;
        let end = random.random_bool(0.8).then_some(end);
        let inside = model.range(start.clone()..);
        let inside = inside.take_while(|(key, _)| end.as_ref().is_none_or(|end| *key < end));
        let mut expected: Vec<_> = inside.map(|(key, value)| (key.clone(), value.clone())).collect();
        let direction = [Direction::Ascending, Direction::Descending][random.random_range(0..2)];
        if direction == Direction::Descending {
            expected.reverse();
        }
        let limit = random.random_range(1..20);
        let cursor = None;
        let range = Range {
            start,
            end,
            cursor,
            direction,
            limit,
        };
        let found = pages(&store, range.clone()).await.into_iter();
        let found: Vec<_> = found.map(|entry| (entry.key, entry.value)).collect();
        assert_eq!(found, expected, "{range:?}");
    }
}

async fn staged_writes_are_part_of_a_scan(place: Place) {
    let store = place.open();
    set(&store, &[("b", "1"), ("d", "1"), ("f", "1"), ("h", "1")]).await;
    for direction in [Direction::Ascending, Direction::Descending] {
        let mut transaction = write(&store);
        for key in ["a", "d", "e", "z"] {
            put(&mut transaction, key, "staged");
        }
        for key in [&b"b"[..], b"h"] {
            assert!(transaction.delete(key).unwrap());
        }
        let mut expected = ["a staged", "d staged", "e staged", "f 1", "z staged"].map(str::to_owned);
        if direction == Direction::Descending {
            expected.reverse();
        }
        let mut found = Vec::new();
        let mut range = range("", None, direction, 2);
        loop {
            let page = transaction.scan(&range).await.unwrap();
            found.extend(page.entries);
            range.cursor = page.cursor;
            if range.cursor.is_none() {
                break;
            }
        }
        let text = |entry: &Entry| format!("{} {}", entry.key.escape_ascii(), entry.value.escape_ascii());
        assert_eq!(found.iter().map(text).collect::<Vec<_>>(), expected);
    }
}

async fn tables_are_apart(place: Place) {
    let store = place.open();
    set(&store, &[("a", "order")]).await;
    let mut transaction = store.begin(&other(), Access::ReadWrite);
    assert_eq!(get(&mut transaction, "a"), None);
    put(&mut transaction, "b", "other");
    commit(&store, transaction).await.unwrap();
    assert_eq!(keys(&all(&store)), ["a"]);
    let usage = store.usage();
    assert_eq!((usage[&order()].keys, usage[&other()].keys), (1, 1));
}

async fn versions_are_those_of_the_commits(place: Place) {
    let store = place.open();
    let first = set(&store, &[("a", "1"), ("b", "1")]).await;
    let second = set(&store, &[("a", "2")]).await;
    assert_eq!((first, second), (1, 2));
    let mut reader = read(&store);
    let versions = ["a", "b"].map(|key| reader.get(key.as_bytes()).unwrap().unwrap().version);
    assert_eq!(versions, [2, 1]);
    let scanned: Vec<_> = all(&store).iter().map(|entry| entry.version).collect();
    assert_eq!(scanned, versions);
    let mut transaction = write(&store);
    assert!(!transaction.put_if(b"a", bytes("3"), 1).unwrap());
    assert!(transaction.put_if(b"a", bytes("3"), 2).unwrap());
    assert!(!transaction.delete_if(b"b", 2).unwrap());
    assert!(transaction.delete_if(b"b", 1).unwrap());
    commit(&store, transaction).await.unwrap();
    assert_eq!(keys(&all(&store)), ["a"]);
}

async fn a_transaction_is_whole_or_not_at_all(place: Place) {
    let store = place.open();
    set(&store, &[("a", "1")]).await;
    for conflict in [true, false] {
        let mut transaction = write(&store);
        get(&mut transaction, "a");
        assert_eq!(transaction.recorded_answer([7; 32]).unwrap(), None);
        put(&mut transaction, "b", "1");
        transaction.delete(b"a").unwrap();
        transaction.publish("topic", "key", bytes("payload")).unwrap();
        let when = SystemTime::now() + Duration::from_secs(3_600);
        transaction
            .schedule(when, "/order.v1.OrderTimers/Fire", bytes("request"))
            .unwrap();
        transaction.record_answer(bytes("answer"));
        if conflict {
            set(&store, &[("a", "2")]).await;
        }
        assert_eq!(is_conflict(&commit(&store, transaction).await), conflict);
        let there = u64::from(!conflict);
        let expected = if conflict { ["a"] } else { ["b"] };
        assert_eq!(keys(&all(&store)), expected);
        assert_eq!(store.view().unwrap().stats().undelivered, there);
        let pending = store.deferred().pending();
        assert_eq!(pending.get(&order()).map_or(0, |pending| pending.count), there);
        assert_eq!(store.usage()[&order()].answers, there);
        let answer = read(&store).recorded_answer([7; 32]).unwrap();
        assert_eq!(answer.is_some(), !conflict);
    }
}

/// Those that wait together are written together, as if one came after the other.
async fn commits_of_one_batch_follow_each_other(place: Place) {
    let store = place.open();
    let submitted: Vec<_> = (0..200)
        .map(|number| {
            let mut transaction = write(&store);
            put(&mut transaction, "last", &number.to_string());
            put(
                &mut transaction,
                &format!("key/{}", number % 7),
                &number.to_string(),
            );
            store.commit(transaction)
        })
        .collect();
    let mut numbers = Vec::new();
    for submission in submitted {
        numbers.push(submission.await.unwrap().sequence.unwrap());
    }
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    assert_eq!(get(&mut read(&store), "last").as_deref(), Some("199"));
    assert_eq!(get(&mut read(&store), "key/3").as_deref(), Some("199"));
    assert_eq!(get(&mut read(&store), "key/4").as_deref(), Some("193"));
    assert_eq!(store.usage()[&order()].keys, 8);
}

async fn usage_is_counted_exactly(place: Place) {
    let store = place.open();
    let mut random = StdRng::seed_from_u64(2);
    for number in 0..60_u8 {
        let mut transaction = write(&store);
        for _ in 0..random.random_range(1..8) {
            let key = random.random_range(0..30).to_string();
            if random.random_bool(0.3) {
                transaction.delete(key.as_bytes()).unwrap();
            } else {
                put(&mut transaction, &key, &"v".repeat(random.random_range(0..500)));
            }
        }
        if number % 3 == 0 {
            transaction.recorded_answer([number; 32]).unwrap();
            transaction.record_answer(bytes("answer"));
        }
        commit(&store, transaction).await.unwrap();
        let entries = all(&store);
        let kept: usize = entries
            .iter()
            .map(|entry| entry.key.len() + entry.value.len())
            .sum();
        let usage = store.usage()[&order()];
        assert_eq!((usage.keys, usage.bytes), (entries.len() as u64, kept as u64));
        assert_eq!(usage.answers, u64::from(number / 3 + 1));
    }
}

async fn a_quota_holds(place: Place) {
    let quota = Quota {
        max_keys: 3,
        max_bytes: 100,
    };
    let plugin = PluginOptions {
        quota,
        ..PluginOptions::default()
    };
    let store = place.open_with(Options {
        plugins: [(order(), plugin)].into(),
        ..Options::default()
    });
    set(&store, &[("a", "1"), ("b", "1")]).await;
    let (mut first, mut second) = (write(&store), write(&store));
    put(&mut first, "c", "1");
    put(&mut second, "d", "1");
    commit(&store, first).await.unwrap();
    assert!(
        is_conflict(&commit(&store, second).await),
        "together they pass it"
    );
    let mut transaction = write(&store);
    exceeds(transaction.put(b"d", bytes("1")), 3);
    exceeds(transaction.put(b"a", bytes(&"x".repeat(100))), 100);
    transaction.delete(b"a").unwrap();
    put(&mut transaction, "d", "1");
    commit(&store, transaction).await.unwrap();
    assert_eq!(keys(&all(&store)), ["b", "c", "d"]);
}
