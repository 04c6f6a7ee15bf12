//! A disk that fails at one operation after another, and then has lost what no fsync had secured, or parts of
//! it: what was acknowledged is there, and of what was not, nothing is there by halves.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mortise::capability::store::{CommitError, Health, Options, Store, verify};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redb::StorageBackend;

use crate::support::*;

/// The parts of a write that reach a disk one without the other, in bytes.
const SECTOR: usize = 512;
/// With a checkpoint at each batch, after a few of them, and never.
const CHECKPOINT_BYTES: [usize; 3] = [0, 8 << 10, usize::MAX];
/// The key that every transaction writes its number under.
const LAST: &str = "last";

#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// As it looks while there is power.
    now: Vec<u8>,
    /// As of the last fsync.
    safe: Vec<u8>,
    since: Vec<Change>,
    /// Operations until one fails, and all that follow it.
    left: Option<usize>,
    kind: io::ErrorKind,
    random: StdRng,
}

#[derive(Debug, Clone)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(*length, 0),
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(data);
            }
        }
    }
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.left {
            None => Ok(()),
            Some(0) => Err(self.kind.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// What fails may have reached the disk all the same.
    fn change(&mut self, change: Change) -> io::Result<()> {
        let step = self.step();
        if step.is_ok() {
            change.apply(&mut self.now);
        }
        self.since.push(change);
        step
    }

    /// Off and on again. Of what came after the last fsync each part may be there.
    fn cycle(&mut self) {
        for change in std::mem::take(&mut self.since) {
            let kept = match change {
                Change::Write(offset, data) => {
                    let parts = data.chunks(SECTOR).zip((offset..).step_by(SECTOR));
                    let parts = parts.filter(|_| self.random.random());
                    parts
                        .map(|(part, offset)| Change::Write(offset, part.to_vec()))
                        .collect()
                }
                length if self.random.random() => vec![length],
                Change::Length(_) => vec![],
            };
            kept.iter().for_each(|change| change.apply(&mut self.safe));
        }
        self.now.clone_from(&self.safe);
        self.left = None;
    }
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: Vec::new(),
            safe: Vec::new(),
            since: Vec::new(),
            left: None,
            kind: io::ErrorKind::Other,
            random: StdRng::seed_from_u64(seed),
        })))
    }

    /// Another one, with what the last fsync has secured of this.
    pub(crate) fn without_power(&self) -> Self {
        let (other, safe) = (Self::new(0), self.0.lock().safe.clone());
        (other.0.lock().now, other.0.lock().safe) = (safe.clone(), safe);
        other
    }

    /// Leaves out what is empty: most of a log is.
    fn copy_to(&self, file: &Path) {
        const PAGE: usize = 4_096;
        let content = &self.0.lock().now;
        let file = File::create(file).unwrap();
        file.set_len(content.len() as u64).unwrap();
        for (page, offset) in content.chunks(PAGE).zip((0..).step_by(PAGE)) {
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, offset).unwrap();
            }
        }
    }

    fn fail_after(&self, operations: usize, kind: io::ErrorKind) {
        let mut state = self.0.lock();
        (state.left, state.kind) = (Some(operations), kind);
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let state = self.0.lock();
        let found = state.now.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0
            .lock()
            .change(Change::Length(usize::try_from(length).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.step()?;
        for change in state.since.drain(..) {
            change.apply(&mut state.safe);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.0.lock().change(Change::Write(offset, data.to_vec()))
    }
}

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

        disk.0.lock().cycle();
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
        again.0.lock().cycle();
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
