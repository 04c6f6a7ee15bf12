use std::fs::File;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use mortise::capability::events::{Event, Sink};
use mortise::capability::store::{
    Access, Bounds, CommitError, Committed, Direction, Entry, Options, Range, Store, Transaction,
};
use mortise::capability::{Error, ErrorKind, Namespace};
use redb::StorageBackend;
use redb::backends::FileBackend;
use tempfile::TempDir;

pub(crate) use crate::disk::Faults;

/// Far longer than anything here takes: only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A backend, and a place of its own to keep a store in.
pub(crate) struct Place {
    /// None in memory.
    directory: Option<TempDir>,
}

impl Place {
    pub(crate) fn memory() -> Self {
        Self { directory: None }
    }

    pub(crate) fn file() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            directory: Some(directory),
        }
    }

    /// Another one of its kind.
    pub(crate) fn another(&self) -> Self {
        match self.lasts() {
            true => Self::file(),
            false => Self::memory(),
        }
    }

    pub(crate) fn open(&self) -> Store {
        self.open_with(Options::default())
    }

    pub(crate) fn open_with(&self, options: Options) -> Store {
        match &self.directory {
            Some(directory) => Store::open(directory.path(), options).unwrap(),
            None => Store::in_memory(options).unwrap(),
        }
    }

    /// Whether it keeps what was committed when the store is closed.
    pub(crate) fn lasts(&self) -> bool {
        self.directory.is_some()
    }
}

/// Makes a test of each function for each backend, in a module with its name. A further backend is one line
/// here, and its constructor above.
macro_rules! on_every_backend {
    ($($test:ident),* $(,)?) => {
        $crate::support::on_backend!(memory: $($test),*);
        $crate::support::on_backend!(file: $($test),*);
    };
}
pub(crate) use on_every_backend;

macro_rules! on_backend {
    ($backend:ident: $($test:ident),*) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::support::Place::$backend()).await;
                }
            )*
        }
    };
}
pub(crate) use on_backend;

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

pub(crate) fn is_conflict(outcome: &Result<Committed, CommitError>) -> bool {
    matches!(outcome, Err(CommitError::Conflict(_)))
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

#[track_caller]
pub(crate) fn exceeds<T: std::fmt::Debug>(result: Result<T, Error>, limit: u64) {
    let error = result.unwrap_err();
    assert_eq!(
        (error.kind(), error.limit()),
        (ErrorKind::LimitExceeded, Some(limit)),
        "{error}"
    );
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

/// A sink that takes everything, and the keys of what it took.
pub(crate) fn keys_sink() -> (Box<dyn Sink>, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (sender, seen) = tokio::sync::mpsc::unbounded_channel();
    let sink = SinkFn("sink", move |events: &[Event]| {
        events
            .iter()
            .for_each(|event| sender.send(event.key.clone()).unwrap());
        Ok(())
    });
    (Box::new(sink), seen)
}

/// The database in the file of a store that is closed.
pub(crate) fn database(file: &Path) -> redb::Database {
    let file = File::options().read(true).write(true).open(file).unwrap();
    database_on(FileBackend::new(file).unwrap())
}

/// The database on the storage of a store that is closed.
pub(crate) fn database_on(storage: impl StorageBackend) -> redb::Database {
    redb::Builder::new()
        .create_with_backend(DatabasePart(storage))
        .unwrap()
}

/// What follows the log.
#[derive(Debug)]
struct DatabasePart<S>(S);

const LOG_BYTES: u64 = 4 << 20;

impl<S: StorageBackend> StorageBackend for DatabasePart<S> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len()? - LOG_BYTES)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(LOG_BYTES + offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(LOG_BYTES + length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(LOG_BYTES + offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}
