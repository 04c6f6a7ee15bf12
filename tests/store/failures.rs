//! Disks that fail.

use mortise::capability::ErrorKind;
use mortise::capability::store::{CommitError, Health, Options, Store};

use crate::support::*;

async fn store_with(faults: &Faults) -> Store {
    let store = Store::on_storage(
        faults.disk(),
        Options {
            cache_bytes: 0,
            ..Options::default()
        },
    )
    .unwrap();
    set(&store, &[("a", "1"), ("b", "1")]).await;
    store
}

async fn assert_refuses_everything(store: &Store) {
    let Health::Failed { cause } = store.health() else {
        panic!("{:?}", store.health())
    };
    assert!(!cause.is_empty());
    let error = read(store).get(b"a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        !error.message().contains("broken"),
        "the cause is the operator's: {error}"
    );
    assert_eq!(
        write(store).put(b"a", bytes("2")).unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test]
async fn a_failed_fsync_is_an_unknown_outcome_and_ends_the_store() {
    let faults = Faults::default();
    let store = store_with(&faults).await;
    let mut late = write(&store);
    put(&mut late, "b", "2");
    let mut transaction = write(&store);
    put(&mut transaction, "a", "2");
    faults.fail_sync();
    assert_eq!(commit(&store, transaction).await, Err(CommitError::Unknown));
    assert_refuses_everything(&store).await;
    assert!(matches!(
        commit(&store, late).await,
        Err(CommitError::Unavailable(_))
    ));
    store.close();
    assert!(
        matches!(store.health(), Health::Failed { .. }),
        "the cause stays known"
    );
}

#[tokio::test]
async fn a_failed_write_ends_the_store() {
    let faults = Faults::default();
    let store = store_with(&faults).await;
    let mut transaction = write(&store);
    put(&mut transaction, "a", "2");
    faults.fail_write();
    let error = commit(&store, transaction).await.unwrap_err();
    assert!(
        matches!(error, CommitError::Unknown | CommitError::Unavailable(_)),
        "{error:?}"
    );
    assert_refuses_everything(&store).await;
}

#[tokio::test]
async fn a_failed_read_ends_the_store() {
    let faults = Faults::default();
    let store = store_with(&faults).await;
    faults.fail_read();
    let mut reader = read(&store);
    let error = reader.get_many(&["a", "b", "c"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_refuses_everything(&store).await;
}

#[tokio::test]
async fn a_failure_before_the_commit_leaves_surely_nothing() {
    let faults = Faults::default();
    let store = store_with(&faults).await;
    let mut transaction = write(&store);
    put(&mut transaction, "a", "2");
    faults.fail_read();
    assert!(matches!(
        commit(&store, transaction).await,
        Err(CommitError::Unavailable(_))
    ));
    assert_refuses_everything(&store).await;
}
