use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mortise::capability::Namespace;
use mortise::capability::store::{
    Access, Bounds, CommitError, Committed, Direction, Entry, Options, Range, Store, Transaction,
};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

/// Far longer than anything here takes: only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn order() -> Namespace {
    Namespace::new("order").unwrap()
}

pub(crate) fn memory() -> Store {
    Store::in_memory(Options::default()).unwrap()
}

pub(crate) fn bounded(bounds: Bounds) -> Store {
    Store::in_memory(Options {
        bounds,
        ..Options::default()
    })
    .unwrap()
}

pub(crate) fn write(store: &Store) -> Transaction {
    store.begin(&order(), Access::ReadWrite)
}

pub(crate) fn read(store: &Store) -> Transaction {
    store.begin(&order(), Access::ReadOnly)
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn put(transaction: &mut Transaction, key: &str, value: &str) {
    transaction.put(key.as_bytes(), bytes(value)).unwrap();
}

pub(crate) fn get(transaction: &mut Transaction, key: &str) -> Option<String> {
    transaction
        .get(key.as_bytes())
        .unwrap()
        .map(|found| String::from_utf8(found.value.to_vec()).unwrap())
}

/// Commits `writes` and returns the number of the commit.
pub(crate) async fn set(store: &Store, writes: &[(&str, &str)]) -> u64 {
    let mut transaction = write(store);
    writes
        .iter()
        .for_each(|(key, value)| put(&mut transaction, key, value));
    store.commit(transaction).await.unwrap().sequence.unwrap()
}

pub(crate) async fn commit(store: &Store, transaction: Transaction) -> Result<Committed, CommitError> {
    tokio::time::timeout(PATIENCE, store.commit(transaction))
        .await
        .expect("the committer answers")
}

pub(crate) fn everything() -> Range {
    range("", None, Direction::Ascending, 1_000)
}

pub(crate) fn range(start: &str, end: Option<&str>, direction: Direction, limit: u32) -> Range {
    Range {
        start: bytes(start),
        end: end.map(bytes),
        cursor: None,
        direction,
        limit,
    }
}

pub(crate) fn keys(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| String::from_utf8(entry.key.to_vec()).unwrap())
        .collect()
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// A disk that can be told to fail, or to stand still.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    fail_sync: Arc<AtomicBool>,
    fail_write: Arc<AtomicBool>,
    fail_read: Arc<AtomicBool>,
    stalled: Arc<(std::sync::Mutex<bool>, std::sync::Condvar)>,
}

impl Faults {
    pub(crate) fn disk(&self) -> Disk {
        Disk {
            memory: Arc::new(InMemoryBackend::new()),
            faults: self.clone(),
        }
    }

    /// Works from now on. What was written is there.
    pub(crate) fn mend(&self) {
        for flag in [&self.fail_sync, &self.fail_write, &self.fail_read] {
            flag.store(false, Ordering::SeqCst);
        }
    }

    pub(crate) fn fail_sync(&self) {
        self.fail_sync.store(true, Ordering::SeqCst);
    }

    pub(crate) fn fail_write(&self) {
        self.fail_write.store(true, Ordering::SeqCst);
    }

    pub(crate) fn fail_read(&self) {
        self.fail_read.store(true, Ordering::SeqCst);
    }

    /// Makes every fsync wait, until the guard is dropped.
    pub(crate) fn stall(&self) -> Stalled {
        *self.stalled.0.lock().unwrap() = true;
        Stalled(self.clone())
    }
}

pub(crate) struct Stalled(Faults);

impl Drop for Stalled {
    fn drop(&mut self) {
        *self.0.stalled.0.lock().unwrap() = false;
        self.0.stalled.1.notify_all();
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Disk {
    memory: Arc<InMemoryBackend>,
    faults: Faults,
}

fn failing(flag: &AtomicBool) -> std::io::Result<()> {
    match flag.load(Ordering::SeqCst) {
        true => Err(std::io::Error::other("the disk is broken")),
        false => Ok(()),
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        failing(&self.faults.fail_read)?;
        self.memory.read(offset, out)
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.memory.set_len(length)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        let (stalled, changed) = &*self.faults.stalled;
        drop(
            changed
                .wait_while(stalled.lock().unwrap(), |stalled| *stalled)
                .unwrap(),
        );
        failing(&self.faults.fail_sync)?;
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        failing(&self.faults.fail_write)?;
        self.memory.write(offset, data)
    }
}

/// A sink made of a closure.
pub(crate) struct SinkFn<F>(pub(crate) &'static str, pub(crate) F);

pub(crate) type Delivered<'a> =
    Pin<Box<dyn Future<Output = Result<(), mortise::capability::events::SinkError>> + Send + 'a>>;

impl<F> mortise::capability::events::Sink for SinkFn<F>
where
    F: FnMut(&[mortise::capability::events::Event]) -> Result<(), mortise::capability::events::SinkError>
        + Send
        + 'static,
{
    fn name(&self) -> &str {
        self.0
    }

    fn deliver<'a>(&'a mut self, events: &'a [mortise::capability::events::Event]) -> Delivered<'a> {
        Box::pin(std::future::ready((self.1)(events)))
    }
}
