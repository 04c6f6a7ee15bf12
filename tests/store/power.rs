//! A disk that fails at one operation after another, and then has lost what no fsync had secured, or parts of
//! it: what was acknowledged is there, and of what was not, nothing is there by halves.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use mortise::capability::store::{CommitError, Health, Options, Store, verify};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redb::StorageBackend;

use crate::log::Disk;
use crate::support::*;

/// With a checkpoint at each batch, after a few of them, and never.
const CHECKPOINT_BYTES: [usize; 3] = [0, 8 << 10, usize::MAX];
/// The key that every transaction writes its number under.
const LAST: &str = "last";

type Contents = BTreeMap<String, String>;

/// What the store holds after each transaction, the first of which is none.
struct History {
    states: Vec<Contents>,
    acknowledged: usize,
}

impl History {
    fn new() -> Self {
        Self {
            states: vec![Contents::new()],
            acknowledged: 0,
        }
    }

    /// Commits one transaction after the other, some of them together, until the disk fails.
    async fn go_on(&mut self, store: &Store, random: &mut StdRng) {
        loop {
            let mut submitted = Vec::new();
            for _ in 0..random.random_range(1..4) {
                let Some((transaction, contents)) = self.next(store, random) else {
                    break;
                };
                self.states.push(contents);
                submitted.push((self.states.len() - 1, store.commit(transaction)));
            }
            if submitted.is_empty() {
                return;
            }
            let mut failed = false;
            for (number, submission) in submitted {
                match submission.await {
                    Ok(_) => {
                        assert!(!failed, "{number} comes after one that failed");
                        self.acknowledged = number;
                    }
                    Err(CommitError::Unknown | CommitError::Unavailable(_)) => failed = true,
                    Err(CommitError::Conflict(_)) => panic!("nothing was read"),
                }
            }
            if failed {
                return;
            }
        }
    }

    /// None if the store has failed.
    fn next(
        &self,
        store: &Store,
        random: &mut StdRng,
    ) -> Option<(mortise::capability::store::Transaction, Contents)> {
        let mut transaction = write(store);
        let mut contents = self.states.last().unwrap().clone();
        let number = self.states.len().to_string();
        transaction.put(LAST.as_bytes(), bytes(&number)).ok()?;
        contents.insert(LAST.into(), number.clone());
        for _ in 0..random.random_range(0..6) {
            let key = format!("key/{}", random.random_range(0..40));
            let value = number.repeat(random.random_range(1..1_500));
            transaction.put(key.as_bytes(), bytes(&value)).ok()?;
            contents.insert(key, value);
        }
        transaction.publish("topic", &number, bytes("")).ok()?;
        Some((transaction, contents))
    }

    /// The store holds what it did after some transaction, no earlier one than the last that was
    /// acknowledged. What comes after that has never been.
    fn check(&mut self, store: &Store, what: &str) {
        let entries = read(store).blocking_scan(&everything()).unwrap().entries;
        let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let found: Contents = entries
            .iter()
            .map(|entry| (text(&entry.key), text(&entry.value)))
            .collect();
        let last = found.get(LAST).map_or(0, |last| last.parse().unwrap());
        assert!(
            last >= self.acknowledged,
            "{what}: {} was acknowledged, {last} is there",
            self.acknowledged
        );
        assert!(found == self.states[last], "{what}: {last} is there by halves");
        self.states.truncate(last + 1);
        self.acknowledged = last;
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_with_the_power() {
    const CUTS: u64 = 200;
    for seed in 0..CUTS {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = Disk::new(seed);
        let options = Options {
            checkpoint_bytes: CHECKPOINT_BYTES[seed as usize % 3],
            ..Options::default()
        };
        let store = Store::on_storage(disk.clone(), options).unwrap();
        disk.fail_after(random.random_range(0..80), io::ErrorKind::Other);
        let mut history = History::new();
        history.go_on(&store, &mut random).await;
        store.close();

        disk.cut_power();
        let directory = tempfile::tempdir().unwrap();
        disk.copy_to(&directory.path().join("store.redb"));
        let store = Store::open(directory.path(), Options::default()).unwrap();
        history.check(&store, &format!("seed {seed}"));
        // It also takes more.
        set(&store, &[("after", "1")]).await;
        store.close();
        let found = verify(directory.path(), &Options::default()).unwrap();
        assert_eq!(found, [], "seed {seed}");
    }
}

#[tokio::test]
async fn the_disk_may_fail_or_be_full_at_any_step() {
    for checkpoint_bytes in CHECKPOINT_BYTES {
        fail_at_every_step(checkpoint_bytes).await;
    }
}

async fn fail_at_every_step(checkpoint_bytes: usize) {
    const FAILURES: usize = 60;
    let mut random = StdRng::seed_from_u64(1);
    let disk = Disk::new(1);
    let again = disk.clone();
    let options = Options {
        checkpoint_bytes,
        reopen_after: Duration::from_millis(1),
        ..Options::default()
    };
    let opened = move || -> Box<dyn StorageBackend> {
        again.cut_power();
        Box::new(again.clone())
    };
    let store = Store::on_lasting_storage(opened, options).unwrap();
    let mut history = History::new();
    for failure in 0..FAILURES {
        let kind = [io::ErrorKind::Other, io::ErrorKind::StorageFull][failure % 2];
        disk.fail_after(failure, kind);
        history.go_on(&store, &mut random).await;
        eventually("the store is open again", || {
            store.health() == Health::Open && read(&store).get(LAST.as_bytes()).is_ok()
        })
        .await;
        history.check(&store, &format!("failure {failure}"));
    }
    assert!(history.acknowledged > FAILURES, "it was used between failures");
}
