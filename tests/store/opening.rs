use std::fs;
use std::os::unix::fs::PermissionsExt;

use mortise::capability::store::{OpenError, Options, Store, verify};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::*;

#[tokio::test]
async fn commits_survive_a_restart_and_numbering_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    assert_eq!(set(&store, &[("a", "1")]).await, 1);
    drop(store);
    let store = Store::open(directory.path(), Options::default()).unwrap();
    assert_eq!(get(&mut read(&store), "a").as_deref(), Some("1"));
    assert_eq!(set(&store, &[("a", "2")]).await, 2);
}

#[test]
fn what_is_created_is_private() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data/store");
    let _store = Store::open(&directory, Options::default()).unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory.clone()), 0o700);
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(path.clone()), 0o600, "{path:?}");
    }
}

#[test]
fn a_second_host_on_the_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = Store::open(directory.path(), Options::default()).unwrap();
    let error = Store::open(directory.path(), Options::default()).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)));
    assert!(error.to_string().contains("in use by another host"), "{error}");
    first.close();
    Store::open(directory.path(), Options::default()).unwrap();
}

#[tokio::test]
async fn a_closed_store_lets_go_of_the_directory_while_a_call_still_holds_a_transaction() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    set(&store, &[("a", "1")]).await;
    let mut straggler = read(&store);
    get(&mut straggler, "a");
    store.close();
    let reopened = Store::open(directory.path(), Options::default()).unwrap();
    assert_eq!(get(&mut read(&reopened), "a").as_deref(), Some("1"));
    straggler.get(b"a").unwrap_err();
}

#[track_caller]
fn open_error(directory: &std::path::Path) -> OpenError {
    Store::open(directory, Options::default()).unwrap_err()
}

#[test]
fn a_file_that_is_not_a_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.redb");
    for content in [&b"not a store"[..], &[0; 100_000], b"mortise\0\x03\0\0\0\0\0\0\0"] {
        fs::write(&file, content).unwrap();
        let error = open_error(directory.path());
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
        let message = error.to_string();
        assert!(
            message.contains("store.redb") && message.contains("restore it from a backup"),
            "{message}"
        );
        assert_eq!(fs::read(&file).unwrap(), content);
    }
}

#[tokio::test]
async fn a_cut_off_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    set(&store, &[("a", &"x".repeat(200_000))]).await;
    store.close();
    let path = directory.path().join("store.redb");
    let whole = fs::read(&path).unwrap();
    for keep in [0, 64, 320, 4_096, whole.len() / 2] {
        fs::write(&path, &whole[..keep]).unwrap();
        let error = open_error(directory.path());
        assert!(
            matches!(error, OpenError::Corrupt { .. }),
            "{keep} bytes: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_file_with_flipped_bits_opens_or_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    for n in 0..50 {
        set(&store, &[(&format!("key/{n}"), &"x".repeat(1_000))]).await;
    }
    store.close();
    let path = directory.path().join("store.redb");
    let whole = fs::read(&path).unwrap();
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..100 {
        let mut damaged = whole.clone();
        // The pages in use lie at the beginning of the database, which follows the log.
        let page = [0, 4 << 20][random.random_range(0..2)];
        let position = page + random.random_range(0..64 << 10);
        damaged[position] ^= 1 << random.random_range(0..8);
        fs::write(&path, &damaged).unwrap();
        match Store::open(directory.path(), Options::default()) {
            Ok(store) => store.close(),
            Err(error) => {
                let expected = matches!(error, OpenError::Corrupt { .. } | OpenError::WrongVersion { .. });
                assert!(expected, "byte {position}: {error:?}");
            }
        }
    }
}

#[test]
fn a_store_of_another_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    Store::open(directory.path(), Options::default()).unwrap().close();
    let path = directory.path().join("store.redb");
    let mut newer = fs::read(&path).unwrap();
    newer[8] = 99;
    fs::write(&path, newer).unwrap();
    let error = open_error(directory.path());
    assert!(matches!(error, OpenError::WrongVersion { found: 99, .. }));
    assert!(error.to_string().contains("format 99"), "{error}");
    let error = verify(directory.path(), &Options::default()).unwrap_err();
    assert!(matches!(error, OpenError::WrongVersion { found: 99, .. }));
}

#[test]
fn a_database_without_a_log_is_one_of_an_older_version() {
    let directory = tempfile::tempdir().unwrap();
    let database = redb::Database::create(directory.path().join("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(redb::TableDefinition::<&str, &str>::new("/meta"))
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = open_error(directory.path());
    assert!(
        matches!(error, OpenError::WrongVersion { found: 2, .. }),
        "{error}"
    );
    let message = error.to_string();
    assert!(message.contains("mortise store export"), "{message}");
}

#[test]
fn a_creation_that_was_cut_off_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("store.redb.new"), b"half").unwrap();
    Store::open(directory.path(), Options::default()).unwrap();
    assert!(!directory.path().join("store.redb.new").exists());
}

#[test]
fn a_directory_that_is_a_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, b"").unwrap();
    let error = open_error(&path);
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("file"), "{error}");
}
