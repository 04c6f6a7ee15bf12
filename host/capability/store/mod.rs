//! The plugins' state: an ordered key-value store with serialisable transactions, and the outbox of events
//! that commit with them.
//!
//! A [`Transaction`] reads one snapshot and stages its writes. [`Store::commit`] hands it to one committer
//! thread, which validates what was read against what has been written since, and makes many transactions
//! durable at once. Nothing is acknowledged, nor seen by another transaction, before it is durable.
//!
//! ```text
//! begin ─► get, put, scan, publish ─► commit ─► queue ─► committer: validate │ write │ fsync │ publish │ answer
//!          snapshot + staged writes              ▲ withdrawn by dropping     └ point of no return
//! ```
//!
//! Commits are totally ordered and numbered from 1. No number is given twice: after a crash, which may have
//! lost relaxed commits that others have seen, some are left out. A read/write transaction is placed at its
//! commit, a read-only one at its snapshot, which contains every commit acknowledged before its first read.
//!
//! What all that is kept in is a `backend::Backend`: a file (`backend::redb`), or memory
//! (`backend::memory`).
//!
//! # Another database
//!
//! The trait says what it must do; this is how PostgreSQL would, for several hosts that share one store.
//!
//! - *Rows*: `data (plugin text, key bytea, version bigint, value bytea, primary key (plugin, key))` for all
//!   plugins and, as plugin `/host`, the host's own; a table each for events, cursors, answers and usage, as
//!   in `backend::redb::layout`. `bytea` is ordered by bytes, as keys must be.
//! - *A snapshot*: a transaction `repeatable read, read only` on a connection of a pool, of which the first
//!   statement reads the last number from `head (sequence bigint)`. The snapshot has exactly the commits up
//!   to it, because the row is locked from the number's choice to the commit. It goes with the first read in
//!   one round trip. `get` is one statement, `get_many` another, a scan a cursor from which so many rows are
//!   fetched at a time.
//! - *Validate and commit in one round trip*: a function in the database takes a batch as arrays, each
//!   transaction with its snapshot, reads and writes. It locks the row of `head`, which puts the commits of
//!   all hosts into one order; refuses a transaction if a key it read, or one within a range it read, is in
//!   `log (plugin, key, sequence)` with a later number, or if its snapshot is older than what the log still
//!   has, as `commit_log` does for the commits of one host; applies the others; drops what the log no longer
//!   needs; and answers who was refused, and the rows of usage that changed. The statement is a transaction
//!   of its own, so its answer is the acknowledgement; a batch that nobody waits for has `synchronous_commit
//!   = off`. A connection that is lost before the answer is [`CommitError::Unknown`], which the next
//!   connection settles by an id of the batch that is kept in `head`.
//! - *What changes above the trait*: `backend::Batch` gains the snapshots and reads, `commit` says who was
//!   refused, and the committer leaves its own check to it. Reads wait for the network, so
//!   [`Transaction::get`] and those like it become asynchronous, as [`Transaction::scan`] is.
//! - *Several hosts* learn by `listen` what others publish and schedule. Relays and timers take an advisory
//!   lock for each sink and plugin.

mod answers;
mod backend;
mod change;
mod commit_log;
mod committer;
mod deferred;
mod get_many;
mod metrics;
mod open;
mod options;
mod outbox;
mod queue;
mod quota;
mod read_set;
mod reads;
mod recovery;
mod scan;
mod shared;
mod snapshot;
mod submission;
mod tools;
mod transaction;
mod usage;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;

pub use answers::AnswerKey;
pub use deferred::{
    Amount, CallId, DeadLetter, DeferredBounds, DeferredCall, DeferredCalls, Errand, EventHeader, Failed,
    Page as DeferredPage,
};
pub use metrics::StoreMetrics;
pub use open::OpenError;
pub use options::{AnswerOptions, Bounds, Durability, Options, PluginOptions, Quota};
pub(crate) use outbox::Outbox;
pub use outbox::{Event, Position};
pub use read_set::Rewritten;
pub use scan::{Direction, Entry, Page, Range};
pub use submission::{CommitError, Committed, Submission};
pub use tools::{BackupError, Mismatch, Stats, View, compact, exists, verify};
pub use transaction::{Access, Transaction, Versioned};
pub use usage::Usage;

use super::Namespace;
use backend::Opened;
use change::Change;
use open::unpanicked;
use queue::{Commit, CommitQueue, Request};
use shared::{Shared, unavailable};
use submission::Ticket;
use writer::Writer;

/// A store, open for one process. Clones are handles to the same one; when the last is dropped it closes.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    queue: Arc<CommitQueue>,
}

/// Whether a store works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It takes reads and commits.
    Open,
    /// It was closed in good order.
    Closed,
    /// The disk or the file failed. Everything is refused until it is opened anew and checked, because after
    /// a failed fsync nobody can say what is on the disk. That is tried from time to time.
    Failed {
        /// What failed, for the operator.
        cause: String,
    },
}

impl Store {
    /// Opens the store in `directory`, which is created (mode 0700) if need be, as is the store (mode 0600).
    ///
    /// # Errors
    /// If another process uses the directory, access is denied, the file is damaged or was written by
    /// another version. A file that cannot be opened is never replaced by a new one.
    pub fn open(directory: &Path, options: Options) -> Result<Self, OpenError> {
        Self::start(backend::redb::file(directory, &options)?, options)
    }

    /// A store in memory, with the same rules, that is gone when it is closed.
    ///
    /// # Errors
    /// If the committer's thread cannot be started.
    pub fn in_memory(options: Options) -> Result<Self, OpenError> {
        Self::start(backend::memory::new(), options)
    }

    /// The store that is usually in a file, on storage of any kind, for instance one that fails as disks do;
    /// a new one if it is empty.
    ///
    /// # Errors
    /// If the storage fails or holds something else, or the committer's thread cannot be started.
    pub fn on_storage(storage: impl redb::StorageBackend, options: Options) -> Result<Self, OpenError> {
        Self::start(backend::redb::storage(Box::new(storage), &options)?, options)
    }

    /// The same on storage that can be had again, with what is on it, after it failed.
    ///
    /// # Errors
    /// As [`on_storage`](Self::on_storage).
    pub fn on_lasting_storage(
        storage: impl FnMut() -> Box<dyn redb::StorageBackend> + Send + 'static,
        options: Options,
    ) -> Result<Self, OpenError> {
        Self::start(backend::redb::lasting_storage(storage, &options)?, options)
    }

    fn start(opened: Opened, options: Options) -> Result<Self, OpenError> {
        let Opened { backend, again, file } = opened;
        let path = file.clone().unwrap_or_else(|| "storage".into());
        let writer = unpanicked(&path, || Writer::new(&path, backend))?;
        let shared = Arc::new(Shared::new(options, writer.sequence(), path, file));
        let queue = CommitQueue::start(shared.clone(), again, writer);
        let queue = queue.map_err(|cause| OpenError::Io {
            path: shared.path.clone(),
            cause,
        })?;
        Ok(Self {
            shared,
            queue: Arc::new(queue),
        })
    }

    /// Begins a transaction on a plugin's state. Costs next to nothing until it is used, and pins its
    /// snapshot with its first read.
    pub fn begin(&self, namespace: &Namespace, access: Access) -> Transaction {
        Transaction::new(self.shared.clone(), namespace.clone(), access)
    }

    /// Submits what `transaction` has staged; it is queued when this returns. A transaction that staged
    /// nothing is committed at once.
    ///
    /// The outcome is durable when it comes: see [`CommitError`] for what is known when it is an error.
    pub fn commit(&self, transaction: Transaction) -> Submission {
        debug_assert!(
            Arc::ptr_eq(&self.shared, &transaction.store),
            "a transaction of another store"
        );
        if transaction.is_empty() {
            return Submission::decided(Ok(Committed { sequence: None }));
        }
        let ticket = Arc::new(Ticket::default());
        let (sender, outcome) = oneshot::channel();
        let commit = Commit {
            bytes: transaction.staged_bytes()
                + transaction.reads.bytes()
                + transaction.answer.bytes()
                + transaction.host.bytes(),
            snapshot: transaction.snapshot(),
            change: Change {
                namespace: transaction.namespace,
                writes: transaction.writes,
                events: transaction.events,
                answer: transaction.answer,
                hops: transaction.hops,
                host: transaction.host,
            },
            plugin: transaction.plugin,
            reads: transaction.reads,
            submitted: Instant::now(),
            ticket: ticket.clone(),
            outcome: sender,
        };
        match self.queue.send(Request::Commit(commit)) {
            Ok(()) => Submission::waiting(ticket, outcome),
            Err(error) => Submission::decided(Err(error)),
        }
    }

    /// Whether the store works.
    pub fn health(&self) -> Health {
        self.shared.health.lock().clone()
    }

    /// What it has counted so far.
    pub fn metrics(&self) -> &StoreMetrics {
        &self.shared.metrics
    }

    /// What each plugin keeps, as of the last commit; nothing once the store is closed or has failed.
    pub fn usage(&self) -> BTreeMap<Namespace, Usage> {
        let snapshot = self.shared.snapshot.load();
        snapshot
            .as_ref()
            .map(|snapshot| snapshot.usage.clone())
            .unwrap_or_default()
    }

    /// Bytes of the transactions that wait to be committed.
    pub fn queued_bytes(&self) -> usize {
        self.shared.queued_bytes.load(Ordering::Relaxed)
    }

    /// The size of its file; none if it is in memory.
    pub fn file_bytes(&self) -> Option<u64> {
        Some(fs::metadata(self.shared.file.as_ref()?).ok()?.len())
    }

    /// Takes no further commit, finishes those that wait, and closes the file. Reads fail from then on.
    ///
    /// Blocks the calling thread for as long as the last batch takes.
    pub fn close(&self) {
        self.queue.close();
    }

    /// The calls that the host is to make later.
    pub fn deferred(&self) -> DeferredCalls {
        DeferredCalls::new(self.clone())
    }

    /// The events that wait for delivery.
    pub(crate) fn outbox(&self) -> Outbox {
        Outbox::new(self.clone())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}
