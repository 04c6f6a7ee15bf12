use bytes::Bytes;
use mortise::capability::store::{Bounds, Direction, Range, Transaction};
use mortise::capability::{Error, ErrorKind, Namespace};

use crate::support::*;

#[tokio::test]
async fn a_transaction_sees_its_own_writes_and_others_see_them_after_the_commit() {
    let store = memory();
    let mut transaction = write(&store);
    put(&mut transaction, "a", "1");
    assert_eq!(get(&mut transaction, "a").as_deref(), Some("1"));
    assert_eq!(transaction.get(b"a").unwrap().unwrap().version, 0);
    assert_eq!(get(&mut read(&store), "a"), None);

    let sequence = commit(&store, transaction).await.unwrap().sequence.unwrap();
    let found = read(&store).get(b"a").unwrap().unwrap();
    assert_eq!((&found.value[..], found.version), (&b"1"[..], sequence));
}

#[tokio::test]
async fn reads_come_from_the_snapshot_of_the_first_one() {
    let store = memory();
    set(&store, &[("a", "old"), ("b", "old")]).await;
    let mut transaction = read(&store);
    assert_eq!(get(&mut transaction, "a").as_deref(), Some("old"));
    set(&store, &[("a", "new"), ("b", "new"), ("c", "new")]).await;
    assert_eq!(get(&mut transaction, "b").as_deref(), Some("old"));
    assert_eq!(get(&mut transaction, "c"), None);

    let mut begun_before = read(&store);
    set(&store, &[("a", "newest")]).await;
    assert_eq!(get(&mut begun_before, "a").as_deref(), Some("newest"));
}

#[tokio::test]
async fn what_is_not_committed_leaves_nothing() {
    let store = memory();
    let mut transaction = write(&store);
    put(&mut transaction, "a", "1");
    drop(transaction);
    assert_eq!(get(&mut read(&store), "a"), None);
}

#[tokio::test]
async fn insert_and_delete_say_what_they_found() {
    let store = memory();
    set(&store, &[("taken", "1")]).await;
    let mut transaction = write(&store);
    assert!(!transaction.insert(b"taken", bytes("2")).unwrap());
    assert!(transaction.insert(b"free", bytes("2")).unwrap());
    assert!(!transaction.insert(b"free", bytes("3")).unwrap());
    assert!(!transaction.delete(b"absent").unwrap());
    assert!(transaction.delete(b"taken").unwrap());
    assert!(!transaction.delete(b"taken").unwrap());
    assert!(transaction.insert(b"taken", bytes("4")).unwrap());
    assert!(transaction.delete(b"free").unwrap());
    commit(&store, transaction).await.unwrap();
    let mut reader = read(&store);
    assert_eq!(get(&mut reader, "taken").as_deref(), Some("4"));
    assert_eq!(get(&mut reader, "free"), None);
}

#[tokio::test]
async fn get_many_answers_in_the_order_of_the_keys() {
    let store = memory();
    set(&store, &[("a", "1"), ("b", "2")]).await;
    let mut transaction = write(&store);
    put(&mut transaction, "c", "3");
    let found = transaction.get_many(&["c", "x", "a"]).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|value| value.map(|v| v.value)).collect();
    assert_eq!(found, [Some(bytes("3")), None, Some(bytes("1"))]);
}

#[tokio::test]
async fn plugins_do_not_see_each_other() {
    use mortise::capability::store::Access;
    let store = memory();
    set(&store, &[("a", "1")]).await;
    let other = Namespace::new("other").unwrap();
    let mut transaction = store.begin(&other, Access::ReadWrite);
    assert_eq!(get(&mut transaction, "a"), None);
    assert!(transaction.scan(&everything()).await.unwrap().entries.is_empty());
    put(&mut transaction, "a", "2");
    commit(&store, transaction).await.unwrap();
    assert_eq!(get(&mut read(&store), "a").as_deref(), Some("1"));
}

/// All pages of a scan.
async fn pages(transaction: &mut Transaction, mut range: Range) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let page = transaction.scan(&range).await.unwrap();
        pages.push(keys(&page.entries));
        range.cursor = page.cursor;
        if range.cursor.is_none() {
            return pages;
        }
    }
}

#[tokio::test]
async fn a_scan_pages_through_a_range_in_both_directions() {
    let store = memory();
    set(&store, &[("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")]).await;
    let mut reader = read(&store);
    let up = range("b", Some("e"), Direction::Ascending, 2);
    assert_eq!(pages(&mut reader, up).await, [vec!["b", "c"], vec!["d"]]);
    let down = range("b", Some("e"), Direction::Descending, 2);
    assert_eq!(pages(&mut reader, down).await, [vec!["d", "c"], vec!["b"]]);
    assert_eq!(
        pages(&mut reader, range("", None, Direction::Descending, 9)).await,
        [vec!["e", "d", "c", "b", "a"]]
    );
    assert_eq!(
        pages(&mut reader, range("c", Some("c"), Direction::Ascending, 9)).await,
        [Vec::<String>::new()]
    );
}

#[tokio::test]
async fn a_scan_shows_staged_writes_in_their_place() {
    let store = memory();
    let sequence = set(&store, &[("a", "1"), ("c", "1"), ("e", "1")]).await;
    let mut transaction = write(&store);
    put(&mut transaction, "b", "2");
    put(&mut transaction, "c", "2");
    put(&mut transaction, "f", "2");
    transaction.delete(b"e").unwrap();
    let page = transaction.scan(&everything()).await.unwrap();
    let seen: Vec<_> = page
        .entries
        .iter()
        .map(|e| (&e.key[..], &e.value[..], e.version))
        .collect();
    let expected: [(&[u8], &[u8], u64); 4] = [
        (b"a", b"1", sequence),
        (b"b", b"2", 0),
        (b"c", b"2", 0),
        (b"f", b"2", 0),
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        pages(&mut transaction, range("", None, Direction::Descending, 1)).await,
        [vec!["f"], vec!["c"], vec!["b"], vec!["a"], vec![]]
    );
}

#[tokio::test]
async fn a_page_ends_at_the_hosts_bounds() {
    let store = bounded(Bounds {
        max_page_entries: 3,
        max_page_bytes: 20,
        ..Bounds::default()
    });
    set(
        &store,
        &[
            ("a", "12345678"),
            ("b", "12345678"),
            ("c", "12345678"),
            ("d", ""),
            ("e", ""),
            ("f", ""),
        ],
    )
    .await;
    let mut reader = read(&store);
    assert_eq!(
        pages(&mut reader, everything()).await,
        [vec!["a", "b", "c"], vec!["d", "e", "f"], vec![]]
    );
    let store = bounded(Bounds {
        max_page_bytes: 9,
        ..Bounds::default()
    });
    set(&store, &[("a", "12345678"), ("b", "12345678")]).await;
    assert_eq!(
        pages(&mut read(&store), everything()).await,
        [vec!["a"], vec!["b"], vec![]]
    );
}

#[track_caller]
fn invalid<T: std::fmt::Debug>(result: Result<T, Error>, says: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains(says), "{error}");
}

#[tokio::test]
async fn senseless_scans_are_refused() {
    let store = memory();
    set(&store, &[("a", ""), ("b", ""), ("c", ""), ("d", "")]).await;
    let mut reader = read(&store);
    invalid(
        reader.scan(&range("b", Some("a"), Direction::Ascending, 1)).await,
        "reversed",
    );
    invalid(
        reader.scan(&range("a", None, Direction::Ascending, 0)).await,
        "at least 1",
    );
    let first = range("b", Some("d"), Direction::Ascending, 1);
    let cursor = reader.scan(&first).await.unwrap().cursor;
    let with = |cursor: Option<Bytes>, range: Range| Range { cursor, ..range };
    assert_eq!(
        keys(
            &reader
                .blocking_scan(&with(cursor.clone(), first.clone()))
                .unwrap()
                .entries
        ),
        ["c"]
    );
    for (cursor, range) in [
        (Some(Bytes::new()), first.clone()),
        (Some(bytes("forged")), first.clone()),
        (Some(bytes("\u{1}a")), first.clone()),
        (Some(bytes("\u{1}d")), first.clone()),
        (cursor.clone(), range("b", Some("d"), Direction::Descending, 1)),
        (cursor.clone(), range("c", Some("d"), Direction::Ascending, 1)),
        (cursor, range("a", Some("b"), Direction::Ascending, 1)),
    ] {
        invalid(reader.scan(&with(cursor, range)).await, "cursor");
    }
}

#[tokio::test]
async fn bounds_are_named_when_they_are_passed_and_the_transaction_stays_usable() {
    let bounds = Bounds {
        max_key_bytes: 4,
        max_value_bytes: 8,
        max_operations: 40,
        max_staged_bytes: 24,
        max_page_bytes: 10,
        ..Bounds::default()
    };
    let store = bounded(bounds);
    let mut transaction = write(&store);
    exceeds(transaction.get(b"12345"), 4);
    exceeds(transaction.put(b"12345", Bytes::new()), 4);
    exceeds(transaction.insert(b"a", bytes("123456789")), 8);
    exceeds(transaction.publish("t", "12345", Bytes::new()), 4);
    exceeds(transaction.publish("t", "k", bytes("123456789")), 8);
    exceeds(
        transaction
            .scan(&range("12345", None, Direction::Ascending, 1))
            .await,
        4,
    );

    put(&mut transaction, "a", "12345678");
    put(&mut transaction, "b", "12345678");
    exceeds(transaction.put(b"c", bytes("12345678")), 24);
    exceeds(transaction.publish("t", "k", bytes("12345")), 24);
    put(&mut transaction, "a", "1");
    put(&mut transaction, "c", "12345678");
    exceeds(transaction.get_many(&["b", "c"]).await, 10);

    let error = loop {
        if let Err(error) = transaction.get(b"a") {
            break error;
        }
    };
    assert_eq!(
        (error.kind(), error.limit()),
        (ErrorKind::LimitExceeded, Some(40))
    );
    commit(&store, transaction).await.unwrap();
    let mut reader = read(&store);
    assert_eq!(get(&mut reader, "a").as_deref(), Some("1"));
    assert_eq!(get(&mut reader, "c").as_deref(), Some("12345678"));
}

#[tokio::test]
async fn a_read_only_transaction_refuses_writes_and_has_nothing_to_commit() {
    let store = memory();
    let mut transaction = read(&store);
    let refused = [
        transaction.put(b"a", Bytes::new()).unwrap_err(),
        transaction.insert(b"a", Bytes::new()).unwrap_err(),
        transaction.delete(b"a").unwrap_err(),
        transaction.publish("t", "k", Bytes::new()).unwrap_err(),
    ];
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::ReadOnly));
    assert_eq!(commit(&store, transaction).await.unwrap().sequence, None);
}

#[tokio::test]
async fn topics_are_checked() {
    let store = memory();
    let mut transaction = write(&store);
    transaction
        .publish("order.created", "any key\n", Bytes::new())
        .unwrap();
    for topic in ["", "a b", "a\n", "ä", &"t".repeat(257)] {
        invalid(transaction.publish(topic, "k", Bytes::new()), "topic");
    }
}
