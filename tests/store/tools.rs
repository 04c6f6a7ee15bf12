//! What operators do with a store.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use mortise::capability::store::{
    BackupError, Direction, OpenError, Options, Store, compact, exists, verify,
};

use crate::support::*;

async fn filled(directory: &Path) -> Store {
    let store = Store::open(directory, Options::default()).unwrap();
    for number in 0..40 {
        let mut transaction = write(&store);
        transaction.recorded_answer([number; 32]).unwrap();
        put(
            &mut transaction,
            &format!("key/{number:02}"),
            &"v".repeat(usize::from(number) * 10),
        );
        transaction.publish("topic", "key", bytes("payload")).unwrap();
        let when = SystemTime::now() + Duration::from_secs(3_600);
        transaction
            .schedule(when, "/order.v1.OrderTimers/Fire", bytes("request"))
            .unwrap();
        transaction.record_answer(bytes("answer"));
        commit(&store, transaction).await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_backup_of_a_running_store_is_a_whole_store() {
    let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = filled(data.path()).await;
    let view = store.view().unwrap();
    // What comes after the view is taken is not in the backup.
    set(&store, &[("late", "1")]).await;
    let file = elsewhere.path().join("backup.redb");
    let size = view.back_up(&file).unwrap();
    assert_eq!(size, fs::metadata(&file).unwrap().len());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_dir(elsewhere.path()).unwrap().count(),
        1,
        "no half a file is left"
    );
    set(&store, &[("later", "1")]).await;

    let again = store.view().unwrap().back_up(&file).unwrap_err();
    assert!(matches!(again, BackupError::Exists(_)), "{again}");
    let nowhere = store
        .view()
        .unwrap()
        .back_up(Path::new("/nowhere/backup"))
        .unwrap_err();
    assert!(matches!(nowhere, BackupError::Io { .. }), "{nowhere}");

    // The restore: the file in the place of the store's.
    let restored = tempfile::tempdir().unwrap();
    fs::copy(&file, restored.path().join("store.redb")).unwrap();
    assert_eq!(verify(restored.path(), &Options::default()).unwrap(), []);
    let copy = Store::open(restored.path(), Options::default()).unwrap();
    assert_eq!(copy.usage(), view.stats().usage);
    assert_eq!(copy.view().unwrap().stats().sequence, 40);
    assert_eq!(copy.deferred().pending(), store.deferred().pending());
    assert_eq!(copy.deferred().pending()[&order()].count, 40);
    assert_eq!(copy.view().unwrap().stats().undelivered, 40);
    let (mut there, mut here) = (read(&copy), view.read(&order()).unwrap());
    let page = there.blocking_scan(&everything()).unwrap();
    assert_eq!(page, here.blocking_scan(&everything()).unwrap());
    assert_eq!(page.entries.len(), 40);
    let answer = write(&copy).recorded_answer([7; 32]).unwrap();
    assert_eq!(answer, Some(bytes("answer")));
    set(&copy, &[("goes on", "1")]).await;
}

#[tokio::test]
async fn a_view_stays_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    let store = filled(data.path()).await;
    let view = store.view().unwrap();
    set(&store, &[("key/00", "changed"), ("new", "1")]).await;
    let mut pages = 0;
    let mut range = range("", None, Direction::Ascending, 7);
    let mut seen = Vec::new();
    loop {
        // Each page in a transaction of its own: only the view keeps them together.
        let page = view.read(&order()).unwrap().blocking_scan(&range).unwrap();
        seen.extend(keys(&page.entries));
        pages += 1;
        range.cursor = page.cursor;
        if range.cursor.is_none() {
            break;
        }
    }
    assert_eq!((seen.len(), pages), (40, 6));
    assert_eq!(
        get(&mut view.read(&order()).unwrap(), "key/00").as_deref(),
        Some("")
    );
    view.read(&order()).unwrap().put(b"a", bytes("1")).unwrap_err();
}

#[tokio::test]
async fn verifying_finds_what_is_counted_wrong() {
    let data = tempfile::tempdir().unwrap();
    assert!(!exists(data.path()));
    let absent = verify(data.path(), &Options::default()).unwrap_err();
    assert!(matches!(absent, OpenError::Io { .. }), "{absent}");
    assert!(!exists(data.path()), "nothing is created");
    let store = filled(data.path()).await;
    let in_use = verify(data.path(), &Options::default()).unwrap_err();
    assert!(matches!(in_use, OpenError::InUse(_)), "{in_use}");
    let pending = store.deferred().pending()[&order()];
    store.close();
    assert_eq!(verify(data.path(), &Options::default()).unwrap(), []);

    let file = data.path().join("store.redb");
    let database = database(&file);
    let transaction = database.begin_write().unwrap();
    let usage = redb::TableDefinition::<&str, (u64, u64, u64, u64)>::new("/usage");
    transaction
        .open_table(usage)
        .unwrap()
        .insert("order", (39, 1, 2, 3))
        .unwrap();
    {
        let rows = redb::TableDefinition::<&[u8], (u64, &[u8])>::new("/host");
        let mut rows = transaction.open_table(rows).unwrap();
        let calls = rows.extract_from_if(b"c".as_slice()..b"d".as_slice(), |_, _| true);
        calls.unwrap().next().unwrap().unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let found = verify(data.path(), &Options::default()).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|mismatch| (&*mismatch.what, mismatch.kept))
        .collect();
    let expected = [
        ("keys of order", 39),
        ("bytes of order", 1),
        ("answers of order", 2),
        ("bytes of answers of order", 3),
        ("timers of order", 40),
        ("bytes of timers of order", pending.bytes),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn compacting_gives_space_back_and_keeps_everything() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path(), Options::default()).unwrap();
    let large = "x".repeat(100_000);
    for number in 0..50 {
        set(&store, &[(&format!("large/{number}"), &large)]).await;
    }
    set(&store, &[("kept", "1")]).await;
    let mut transaction = write(&store);
    for number in 0..50 {
        assert!(transaction.delete(format!("large/{number}").as_bytes()).unwrap());
    }
    commit(&store, transaction).await.unwrap();
    compact(data.path(), &Options::default()).unwrap_err();
    store.close();
    let (before, after) = compact(data.path(), &Options::default()).unwrap();
    assert!(after < before / 2, "{before} to {after}");
    assert_eq!(verify(data.path(), &Options::default()).unwrap(), []);
    let store = Store::open(data.path(), Options::default()).unwrap();
    assert_eq!(get(&mut read(&store), "kept").as_deref(), Some("1"));
}
