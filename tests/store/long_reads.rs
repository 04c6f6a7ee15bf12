//! Reads that are too long for the thread that asks for them.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use mortise::capability::store::{Bounds, Direction, Health, Options, Range, Store};
use mortise::capability::{Error, ErrorKind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::*;

on_every_backend!(
    long_pages_are_those_of_the_calling_thread,
    what_a_long_page_read_is_validated_as_far_as_it_goes,
    many_keys_are_what_each_of_them_is,
    many_keys_are_validated_each,
);

fn key(number: u32) -> Bytes {
    Bytes::from(format!("{number:05}"))
}

async fn fill(store: &Store, numbers: std::ops::Range<u32>, value: impl Fn(u32) -> Bytes) {
    let mut transaction = write(store);
    for number in numbers {
        transaction.put(&key(number), value(number)).unwrap();
    }
    commit(store, transaction).await.unwrap();
}

async fn long_pages_are_those_of_the_calling_thread(place: Place) {
    let bounds = Bounds {
        max_page_bytes: 300_000,
        ..Bounds::default()
    };
    let store = place.open_with(Options {
        bounds,
        ..Options::default()
    });
    let mut random = StdRng::seed_from_u64(7);
    let sizes: Vec<usize> = (0..2_000).map(|_| random.random_range(0..1_000)).collect();
    fill(&store, 0..2_000, |number| {
        Bytes::from(vec![1; sizes[number as usize]])
    })
    .await;
    let mut model: BTreeMap<Bytes, usize> = (0..2_000)
        .map(|number| (key(number), sizes[number as usize]))
        .collect();
    let mut transaction = write(&store);
    // So many that nothing is left of what is read at once, and others in between and behind.
    for number in 500..900 {
        assert!(transaction.delete(&key(number)).unwrap());
        model.remove(&key(number));
    }
    for _ in 0..500 {
        let (key, size) = (key(random.random_range(0..2_500)), random.random_range(0..1_000));
        transaction.put(&key, Bytes::from(vec![2; size])).unwrap();
        model.insert(key, size);
    }
    for _ in 0..60 {
        let mut ends = [0; 2].map(|_| key(random.random_range(0..2_600)));
        ends.sort();
        let [start, end] = ends;
        let mut range = Range {
            start,
            end: random.random_bool(0.7).then_some(end),
            cursor: None,
            direction: [Direction::Ascending, Direction::Descending][random.random_range(0..2)],
            limit: random.random_range(1..1_500),
        };
        let inside = model.range(range.start.clone()..);
        let inside = inside.take_while(|(key, _)| range.end.as_ref().is_none_or(|end| *key < end));
        let mut expected: Vec<_> = inside.map(|(key, size)| (key.clone(), *size)).collect();
        if range.direction == Direction::Descending {
            expected.reverse();
        }
        let mut found = Vec::new();
        loop {
            let page = transaction.scan(&range).await.unwrap();
            assert_eq!(page, transaction.blocking_scan(&range).unwrap(), "{range:?}");
            found.extend(
                page.entries
                    .into_iter()
                    .map(|entry| (entry.key, entry.value.len())),
            );
            range.cursor = page.cursor;
            if range.cursor.is_none() {
                break;
            }
        }
        assert!(found == expected, "{range:?}");
    }
}

async fn what_a_long_page_read_is_validated_as_far_as_it_goes(place: Place) {
    for (new, conflicts) in [("00750.5", false), ("00749.5", true), ("00300.5", true)] {
        let store = place.another().open();
        fill(&store, 0..1_000, |_| Bytes::from_static(b"1")).await;
        let mut transaction = write(&store);
        let page = transaction
            .scan(&range("", None, Direction::Ascending, 751))
            .await;
        assert_eq!(page.unwrap().entries.last().unwrap().key, key(750));
        set(&store, &[(new, "1")]).await;
        put(&mut transaction, "result", "1");
        assert_eq!(
            is_conflict(&commit(&store, transaction).await),
            conflicts,
            "{new}"
        );
    }
}

async fn many_keys_are_what_each_of_them_is(place: Place) {
    let store = place.open();
    fill(&store, 0..1_000, |number| Bytes::from(vec![1; number as usize])).await;
    let mut transaction = write(&store);
    for number in 0..1_000 {
        match number % 7 {
            0 => assert!(transaction.delete(&key(number)).unwrap()),
            1 => transaction
                .put(&key(number), Bytes::from_static(b"written"))
                .unwrap(),
            _ => {}
        }
    }
    let mut random = StdRng::seed_from_u64(3);
    for count in [0, 1, 127, 128, 129, 1_500] {
        let keys: Vec<_> = (0..count).map(|_| key(random.random_range(0..1_100))).collect();
        let each: Vec<_> = keys.iter().map(|key| transaction.get(key).unwrap()).collect();
        assert!(transaction.get_many(&keys).await.unwrap() == each, "{count}");
    }
}

async fn many_keys_are_validated_each(place: Place) {
    for changed in [0, 127, 128, 499, 500] {
        let store = place.another().open();
        fill(&store, 0..400, |_| Bytes::from_static(b"1")).await;
        let mut transaction = write(&store);
        let keys: Vec<_> = (0..500).map(key).collect();
        transaction.get_many(&keys).await.unwrap();
        fill(&store, changed..changed + 1, |_| Bytes::from_static(b"2")).await;
        put(&mut transaction, "result", "1");
        assert_eq!(
            is_conflict(&commit(&store, transaction).await),
            changed < 500,
            "{changed}"
        );
    }
}

#[tokio::test]
async fn many_keys_end_where_they_hold_too_much() {
    let bounds = Bounds {
        max_page_bytes: 400_000,
        ..Bounds::default()
    };
    let store = bounded(bounds);
    fill(&store, 0..500, |_| Bytes::from(vec![1; 1_000])).await;
    let mut reader = read(&store);
    let keys = |count| (0..count).map(key).collect::<Vec<_>>();
    assert_eq!(reader.get_many(&keys(400)).await.unwrap().len(), 400);
    exceeds(reader.get_many(&keys(401)).await, 400_000);
}

/// A store whose pages are long, on a disk that does what it is told, and has to be read.
async fn on_disk(faults: &Faults) -> Store {
    let store = Store::on_storage(faults.disk(), few_threads()).unwrap();
    fill(&store, 0..500, |_| Bytes::from(vec![7; 8 << 10])).await;
    store
}

fn few_threads() -> Options {
    Options {
        cache_bytes: 0,
        read_threads: 1,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_long_scan_leaves_its_thread_to_others() {
    let faults = Faults::default();
    let store = on_disk(&faults).await;
    let stalled = faults.stall_blocking_reads();
    let (mut first, mut second, range) = (read(&store), read(&store), everything());
    {
        let mut scan = pin!(first.scan(&range));
        tokio::select! {
            _ = &mut scan => panic!("the disk stands still"),
            () = eventually("a read elsewhere", || stalled.holds()) => {}
        }
        // The only thread of this runtime goes on: with timers, and with reads that are short.
        assert_eq!(get(&mut read(&store), "00400").unwrap().len(), 8 << 10);
        let short = read(&store).scan(&range_of(3)).await;
        assert_eq!(short.unwrap().entries.len(), 3);
        let keys: Vec<_> = (0..100).map(key).collect();
        let mut waiting = pin!(second.get_many(&keys));
        assert!(
            tokio::time::timeout(Duration::from_millis(20), &mut waiting)
                .await
                .is_err()
        );
    }
    // Given up by those who asked: the one that waited leaves nothing behind, and the thread is free once the
    // disk lets it go.
    let mut third = read(&store);
    let mut waiting = pin!(third.scan(&range));
    assert!(
        tokio::time::timeout(Duration::from_millis(20), &mut waiting)
            .await
            .is_err()
    );
    drop(stalled);
    let page = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(page, read(&store).blocking_scan(&range).unwrap());
    assert_eq!(page.entries.len(), 500);
    store.close();
}

fn range_of(limit: u32) -> Range {
    range("", None, Direction::Descending, limit)
}

#[tokio::test]
async fn a_long_scan_that_fails_is_a_failure_of_the_store() {
    let faults = Faults::default();
    let store = on_disk(&faults).await;
    let stalled = faults.stall_blocking_reads();
    let (mut reader, range) = (read(&store), everything());
    let mut scan = pin!(reader.scan(&range));
    tokio::select! {
        _ = &mut scan => panic!("the disk stands still"),
        () = eventually("a read elsewhere", || stalled.holds()) => {}
    }
    faults.fail_read();
    drop(stalled);
    let failed: Error = tokio::time::timeout(PATIENCE, scan).await.unwrap().unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    assert!(matches!(store.health(), Health::Failed { .. }));
}
