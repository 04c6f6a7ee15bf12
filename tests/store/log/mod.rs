//! The write-ahead log under kills, power cuts, failures and damage. Each test says what it excludes.

mod disk;
mod lives;
mod numbers;
mod records;
mod sizes;

use std::ops::Range;
use std::time::{Duration, SystemTime};

use mortise::capability::store::{AnswerOptions, Health, Options, Store, verify};
use redb::StorageBackend;

use crate::relaxed::{HOUR, careful};
use crate::support::*;
pub(crate) use disk::Disk;

/// Where it is in the file.
const LOG: Range<usize> = 4_096..4 << 20;

/// The plugin of most tests waits for no disk: what it commits is there with what others commit, or late.
fn relaxed() -> Options {
    crate::relaxed::relaxed(HOUR)
}

/// Time stands still, so that a batch can be written twice byte for byte.
fn timeless(options: Options) -> Options {
    Options {
        answers: AnswerOptions {
            clock: || SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 30),
            ..options.answers
        },
        ..options
    }
}

fn on(disk: &Disk, options: Options) -> Store {
    Store::on_storage(disk.clone(), options).unwrap()
}

fn open(disk: &Disk) -> Store {
    on(disk, Options::default())
}

/// Opens itself again after a failure.
fn lasting(disk: &Disk, options: Options) -> Store {
    let disk = disk.clone();
    let options = Options {
        reopen_after: Duration::from_millis(1),
        ..options
    };
    Store::on_lasting_storage(move || Box::new(disk.clone()), options).unwrap()
}

async fn until_open(store: &Store) {
    eventually("the store is open again", || {
        store.health() == Health::Open && read(store).get(b"a").is_ok()
    })
    .await;
}

/// Brings to the disk what waits for it.
async fn secure(store: &Store) {
    commit(store, careful(store)).await.unwrap();
}

#[track_caller]
fn assert_has(store: &Store, expected: &[(&str, Option<&str>)], what: &str) {
    let mut reader = read(store);
    for (key, value) in expected {
        assert_eq!(get(&mut reader, key).as_deref(), *value, "{what}: {key}");
    }
}

fn log_bytes(store: &Store) -> usize {
    usize::try_from(store.metrics().log_bytes.value()).unwrap()
}

/// Every page is whole, and the figures are right.
#[track_caller]
fn assert_whole(disk: &Disk, what: &str) {
    let directory = tempfile::tempdir().unwrap();
    disk.copy_to(&directory.path().join("store.redb"));
    let found = verify(directory.path(), &Options::default()).unwrap();
    assert_eq!(found, [], "{what}");
}

fn file_bytes(disk: &Disk) -> u64 {
    disk.len().unwrap()
}
