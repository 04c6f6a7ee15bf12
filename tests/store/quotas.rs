//! What a plugin may keep, and versions.

use mortise::capability::ErrorKind;
use mortise::capability::store::{Bounds, CommitError, Options, PluginOptions, Quota, Store, Usage};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::*;

fn with_quota(max_bytes: u64, max_keys: u64) -> Options {
    let plugin = PluginOptions {
        bounds: Bounds::default(),
        quota: Quota { max_bytes, max_keys },
        ..PluginOptions::default()
    };
    Options {
        plugins: [(order(), plugin)].into(),
        ..Options::default()
    }
}

fn limited(max_bytes: u64, max_keys: u64) -> Store {
    Store::in_memory(with_quota(max_bytes, max_keys)).unwrap()
}

fn usage(store: &Store) -> Usage {
    store.usage().get(&order()).copied().unwrap_or_default()
}

#[tokio::test]
async fn a_write_beyond_the_quota_is_refused_and_named() {
    let store = limited(100, 3);
    set(&store, &[("a", &"x".repeat(59)), ("b", &"x".repeat(19))]).await;
    let mut transaction = write(&store);
    let error = transaction.put(b"c", bytes(&"x".repeat(20))).unwrap_err();
    assert_eq!(
        (error.kind(), error.limit()),
        (ErrorKind::LimitExceeded, Some(100))
    );
    assert!(error.message().contains("bytes"), "{error}");
    // The transaction stays usable: what fits is taken, and replacing counts the difference.
    put(&mut transaction, "c", &"x".repeat(19));
    let error = transaction.put(b"d", bytes("")).unwrap_err();
    assert_eq!(
        (error.kind(), error.limit()),
        (ErrorKind::LimitExceeded, Some(100))
    );
    put(&mut transaction, "a", &"x".repeat(9));
    let error = transaction.put(b"d", bytes("")).unwrap_err();
    assert_eq!((error.kind(), error.limit()), (ErrorKind::LimitExceeded, Some(3)));
    assert!(error.message().contains("keys"), "{error}");
    assert!(transaction.delete(b"b").unwrap());
    put(&mut transaction, "d", "x");
    commit(&store, transaction).await.unwrap();
    assert_eq!(usage(&store).keys, 3);
    assert_eq!(usage(&store).bytes, 10 + 20 + 2);
}

#[tokio::test]
async fn giving_back_and_taking_more_is_taking() {
    let store = limited(30, 9);
    set(&store, &[("a", &"x".repeat(19))]).await;
    let mut transaction = write(&store);
    assert!(transaction.delete(b"a").unwrap());
    put(&mut transaction, "b", &"x".repeat(29));
    let error = transaction.put(b"a", bytes("")).unwrap_err();
    assert_eq!(error.limit(), Some(30));
    commit(&store, transaction).await.unwrap();
    assert_eq!(usage(&store).bytes, 30);
}

#[tokio::test]
async fn calls_that_together_pass_the_quota_run_again() {
    let store = limited(1_000, 3);
    let attempts: Vec<_> = ["a", "b", "c", "d", "e"]
        .iter()
        .map(|key| {
            let mut transaction = write(&store);
            put(&mut transaction, key, "1");
            transaction
        })
        .collect();
    let submitted: Vec<_> = attempts
        .into_iter()
        .map(|attempt| store.commit(attempt))
        .collect();
    let mut refused = 0;
    for outcome in submitted {
        match outcome.await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(
                    error,
                    CommitError::Conflict(None),
                    "the handler is to learn it at its write"
                );
                refused += 1;
            }
        }
    }
    assert_eq!((refused, usage(&store).keys), (2, 3));
    let error = write(&store).put(b"f", bytes("1")).unwrap_err();
    assert_eq!(error.limit(), Some(3));
}

#[tokio::test]
async fn a_lowered_quota_takes_nothing_and_lets_go() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    set(&store, &[("a", "1"), ("b", "1"), ("c", "1")]).await;
    store.close();
    let store = Store::open(directory.path(), with_quota(4, 1)).unwrap();
    let mut transaction = write(&store);
    assert_eq!(get(&mut transaction, "c").as_deref(), Some("1"));
    put(&mut transaction, "a", "2");
    transaction.put(b"a", bytes("22")).unwrap_err();
    assert!(transaction.delete(b"b").unwrap());
    commit(&store, transaction).await.unwrap();
    assert_eq!(get(&mut read(&store), "a").as_deref(), Some("2"));
    let other = mortise::capability::Namespace::new("other").unwrap();
    let mut transaction = store.begin(&other, mortise::capability::store::Access::ReadWrite);
    put(&mut transaction, "another plugin", "is not concerned");
    commit(&store, transaction).await.unwrap();
}

/// Whatever rivals do near the quota: it is never passed, and what is counted is what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quota_holds_under_rivals() {
    const MAX_BYTES: u64 = 2_000;
    const MAX_KEYS: u64 = 25;
    let store = limited(MAX_BYTES, MAX_KEYS);
    let rivals = (0..8).map(|seed| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed);
            for _ in 0..100 {
                let mut transaction = write(&store);
                for _ in 0..random.random_range(1..4) {
                    let key = format!("k{}", random.random_range(0..40));
                    if random.random_bool(0.2) {
                        transaction.delete(key.as_bytes()).unwrap();
                    } else {
                        let value = "v".repeat(random.random_range(0..200));
                        let _may_be_full = transaction.put(key.as_bytes(), bytes(&value));
                    }
                }
                let _may_conflict = commit(&store, transaction).await;
                let kept = usage(&store);
                assert!(kept.bytes <= MAX_BYTES && kept.keys <= MAX_KEYS, "{kept:?}");
            }
        })
    });
    for rival in rivals.collect::<Vec<_>>() {
        rival.await.unwrap();
    }
    let page = read(&store).blocking_scan(&everything()).unwrap();
    let there: usize = page
        .entries
        .iter()
        .map(|entry| entry.key.len() + entry.value.len())
        .sum();
    let kept = usage(&store);
    assert_eq!((kept.keys, kept.bytes), (page.entries.len() as u64, there as u64));
}

#[tokio::test]
async fn a_value_is_written_only_at_its_version() {
    let store = memory();
    let first = set(&store, &[("a", "1")]).await;
    let mut transaction = write(&store);
    assert!(
        !transaction.put_if(b"a", bytes("2"), first + 1).unwrap(),
        "another version"
    );
    assert!(!transaction.put_if(b"absent", bytes("2"), first).unwrap());
    assert!(!transaction.put_if(b"absent", bytes("2"), 0).unwrap());
    assert!(!transaction.delete_if(b"a", first + 1).unwrap());
    assert!(transaction.put_if(b"a", bytes("2"), first).unwrap());
    assert!(
        !transaction.put_if(b"a", bytes("3"), first).unwrap(),
        "it is this call's now"
    );
    assert!(transaction.put_if(b"a", bytes("3"), 0).unwrap());
    let second = commit(&store, transaction).await.unwrap().sequence.unwrap();
    let mut transaction = write(&store);
    assert!(transaction.delete_if(b"a", second).unwrap());
    commit(&store, transaction).await.unwrap();
    assert_eq!(get(&mut read(&store), "a"), None);
    let error = read(&store).put_if(b"a", bytes("1"), 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    let error = read(&store).delete_if(b"a", 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
}

#[tokio::test]
async fn comparing_a_version_is_a_read() {
    let store = memory();
    let version = set(&store, &[("a", "1")]).await;
    let mut transaction = write(&store);
    assert!(transaction.put_if(b"a", bytes("2"), version).unwrap());
    set(&store, &[("a", "other")]).await;
    assert!(is_conflict(&commit(&store, transaction).await));
}

#[tokio::test]
async fn plugins_have_bounds_of_their_own() {
    let plugin = PluginOptions {
        bounds: Bounds {
            max_value_bytes: 10,
            max_operations: 2,
            ..Bounds::default()
        },
        ..PluginOptions::default()
    };
    let store = Store::in_memory(Options {
        plugins: [(order(), plugin)].into(),
        ..Options::default()
    })
    .unwrap();
    let mut transaction = write(&store);
    assert_eq!(
        transaction.put(b"a", bytes(&"x".repeat(11))).unwrap_err().limit(),
        Some(10)
    );
    put(&mut transaction, "a", "1");
    assert_eq!(transaction.get(b"a").unwrap_err().limit(), Some(2));
}
