//! The classic anomalies of weaker isolation, each shown absent.

use mortise::capability::store::{CommitError, Direction, Options, Store};

use crate::support::*;

on_every_backend!(
    no_lost_update,
    no_write_skew,
    no_phantom_in_a_range,
    no_phantom_under_an_absent_key,
    no_read_only_anomaly,
    a_page_conflicts_with_what_it_read_and_not_beyond,
    later_pages_of_a_scan_count_as_read,
    blind_writes_and_reads_of_own_writes_never_conflict,
    a_snapshot_older_than_the_log_counts_as_in_conflict,
    counters_that_retry_on_conflict_add_up,
);

async fn no_lost_update(place: Place) {
    let store = place.open();
    set(&store, &[("n", "0")]).await;
    let (mut first, mut second) = (write(&store), write(&store));
    get(&mut first, "n");
    get(&mut second, "n");
    put(&mut first, "n", "1");
    put(&mut second, "n", "1");
    commit(&store, first).await.unwrap();
    assert!(is_conflict(&commit(&store, second).await));
}

#[tokio::test]
async fn no_lost_update_within_one_batch() {
    let faults = Faults::default();
    let store = Store::on_storage(faults.disk(), Options::default()).unwrap();
    set(&store, &[("n", "0")]).await;
    let mut transactions: Vec<_> = (0..10).map(|_| write(&store)).collect();
    for transaction in &mut transactions {
        get(transaction, "n");
        put(transaction, "n", "1");
    }
    let stalled = faults.stall();
    // While this one is being written the others gather in the queue, and come as one batch.
    let mut ahead = write(&store);
    put(&mut ahead, "elsewhere", "");
    let ahead = store.commit(ahead);
    eventually("acceptance", || ahead.accepted()).await;
    let waiting: Vec<_> = transactions
        .into_iter()
        .map(|transaction| store.commit(transaction))
        .collect();
    drop(stalled);
    ahead.await.unwrap();
    let mut committed = 0;
    for submission in waiting {
        match submission.await {
            Ok(_) => committed += 1,
            Err(error) => assert!(matches!(error, CommitError::Conflict(_))),
        }
    }
    assert_eq!(committed, 1);
}

async fn no_write_skew(place: Place) {
    let store = place.open();
    set(&store, &[("alice", "on call"), ("bob", "on call")]).await;
    let (mut first, mut second) = (write(&store), write(&store));
    for transaction in [&mut first, &mut second] {
        assert_eq!(transaction.scan(&everything()).await.unwrap().entries.len(), 2);
    }
    first.delete(b"alice").unwrap();
    second.delete(b"bob").unwrap();
    commit(&store, first).await.unwrap();
    assert!(is_conflict(&commit(&store, second).await));
}

async fn no_phantom_in_a_range(place: Place) {
    let store = place.open();
    set(&store, &[("a", ""), ("z", "")]).await;
    let mut counter = write(&store);
    let seen = counter
        .scan(&range("b", Some("m"), Direction::Ascending, 10))
        .await
        .unwrap();
    assert!(seen.entries.is_empty());
    put(&mut counter, "count", "0");
    set(&store, &[("g", "")]).await;
    assert!(is_conflict(&commit(&store, counter).await));
}

async fn no_phantom_under_an_absent_key(place: Place) {
    let store = place.open();
    let (mut first, mut second) = (write(&store), write(&store));
    assert!(first.insert(b"id", bytes("1")).unwrap());
    assert!(second.insert(b"id", bytes("2")).unwrap());
    commit(&store, first).await.unwrap();
    assert!(is_conflict(&commit(&store, second).await));
    assert_eq!(get(&mut read(&store), "id").as_deref(), Some("1"));
}

/// A read-only transaction must not see the deposit without the withdrawal's fee being decided after it:
/// Fekete, O'Neil and O'Neil's example, in which snapshot isolation lets three transactions form a cycle.
async fn no_read_only_anomaly(place: Place) {
    let store = place.open();
    set(&store, &[("checking", "0"), ("savings", "0")]).await;
    let mut withdraw = write(&store);
    assert_eq!(get(&mut withdraw, "checking").as_deref(), Some("0"));
    assert_eq!(get(&mut withdraw, "savings").as_deref(), Some("0"));
    set(&store, &[("savings", "20")]).await;
    let mut report = read(&store);
    assert_eq!(get(&mut report, "checking").as_deref(), Some("0"));
    assert_eq!(get(&mut report, "savings").as_deref(), Some("20"));
    put(&mut withdraw, "checking", "-11");
    assert!(is_conflict(&commit(&store, withdraw).await));
}

async fn a_page_conflicts_with_what_it_read_and_not_beyond(place: Place) {
    for (direction, changed, conflict) in [
        (Direction::Ascending, "a5", true),
        (Direction::Ascending, "b", true),
        (Direction::Ascending, "b5", false),
        (Direction::Ascending, "d", false),
        (Direction::Descending, "c5", true),
        (Direction::Descending, "c", true),
        (Direction::Descending, "b5", false),
        (Direction::Descending, "a", false),
        (Direction::Descending, "z", true),
    ] {
        let place = place.another();
        let store = place.open();
        set(&store, &[("a", ""), ("b", ""), ("c", ""), ("d", "")]).await;
        let mut transaction = write(&store);
        let seen = keys(
            &transaction
                .scan(&range("", None, direction, 2))
                .await
                .unwrap()
                .entries,
        );
        assert_eq!(seen.len(), 2);
        put(&mut transaction, "result", "");
        set(&store, &[(changed, "changed")]).await;
        let outcome = commit(&store, transaction).await;
        assert_eq!(
            outcome.is_err(),
            conflict,
            "{direction:?} saw {seen:?}, then {changed:?} changed"
        );
    }
}

async fn later_pages_of_a_scan_count_as_read(place: Place) {
    let store = place.open();
    set(&store, &[("a", ""), ("b", ""), ("c", "")]).await;
    let mut transaction = write(&store);
    let mut range = range("", None, Direction::Ascending, 1);
    range.cursor = transaction.scan(&range).await.unwrap().cursor;
    range.cursor = transaction.scan(&range).await.unwrap().cursor;
    put(&mut transaction, "result", "");
    set(&store, &[("b", "changed")]).await;
    assert!(is_conflict(&commit(&store, transaction).await));
}

async fn blind_writes_and_reads_of_own_writes_never_conflict(place: Place) {
    let store = place.open();
    let mut transaction = write(&store);
    put(&mut transaction, "a", "mine");
    assert_eq!(get(&mut transaction, "a").as_deref(), Some("mine"));
    set(&store, &[("a", "theirs")]).await;
    commit(&store, transaction).await.unwrap();
    assert_eq!(get(&mut read(&store), "a").as_deref(), Some("mine"));
}

async fn a_snapshot_older_than_the_log_counts_as_in_conflict(place: Place) {
    let store = place.open_with(Options {
        max_log_bytes: 2_000,
        ..Options::default()
    });
    set(&store, &[("mine", "")]).await;
    let mut transaction = write(&store);
    get(&mut transaction, "mine");
    put(&mut transaction, "mine", "changed");
    for n in 0..100 {
        set(&store, &[(&format!("other/{n}"), "")]).await;
    }
    assert!(is_conflict(&commit(&store, transaction).await));
}

async fn counters_that_retry_on_conflict_add_up(place: Place) {
    const TASKS: usize = 8;
    const ROUNDS: usize = 25;
    let store = place.open();
    set(&store, &[("n", "0")]).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..ROUNDS {
                    loop {
                        let mut transaction = write(&store);
                        let n: usize = get(&mut transaction, "n").unwrap().parse().unwrap();
                        put(&mut transaction, "n", &(n + 1).to_string());
                        match commit(&store, transaction).await {
                            Ok(_) => break,
                            Err(error) => assert!(matches!(error, CommitError::Conflict(_))),
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(get(&mut read(&store), "n"), Some((TASKS * ROUNDS).to_string()));
}
