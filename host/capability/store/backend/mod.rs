//! What the store needs of a database: [`Backend`], and what implements it.
//!
//! Staging, what was read, validation, quotas, the queue, retries and what is deferred are the store's, above
//! the trait, once. A backend keeps rows and gives them back: it applies batches that are validated, each
//! whole or not at all, and reads states that nothing changes.
//!
//! The store holds a backend and its readers as trait objects, so that a backend is one folder here and one
//! constructor of [`Store`](super::Store). What that costs is one call through a pointer for a key that is
//! read or a row that is visited, and one allocation for a transaction that reads: little against finding and
//! copying a row. A type parameter instead would be one of every part of the host that holds a store.

pub(super) mod memory;
pub(super) mod redb;
mod state;

use std::ops::{Bound, ControlFlow};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

pub(super) use state::State;

use super::Options;
use super::answers::AnswerKey;
use super::change::Accepted;
use super::open::OpenError;
use super::outbox::{Event, Position};
use super::scan::{Direction, Entry};
use super::transaction::Versioned;
use crate::capability::Namespace;

/// A database with what a store keeps. The committer owns it, and nobody else changes it; dropping it closes
/// it, whatever of it is still being read.
pub(super) trait Backend: Send {
    /// The state after the last commit, durable or not, as cheap as possible: it is taken after each batch.
    ///
    /// # Errors
    /// If the database has failed.
    fn reader(&self) -> Result<Box<dyn Reader>, ReadError>;

    /// Applies all of `batch` or nothing, and brings `state`, which counts what the batch publishes already,
    /// up to date with what it replaced and dropped. True if the batch is durable, and with it every one
    /// before: a backend may make more of them durable than is asked for.
    ///
    /// # Errors
    /// After any, the backend is given up, and what is durable is known only once it is opened again.
    fn commit(&mut self, batch: &Batch<'_>, state: &mut State) -> Result<bool, WriteError>;

    /// Makes durable what was committed and is not.
    ///
    /// # Errors
    /// As those of [`commit`](Self::commit).
    fn flush(&mut self) -> Result<(), WriteError>;

    /// The same, and leaves nothing to be done when it is opened next. The last call.
    ///
    /// # Errors
    /// As those of [`commit`](Self::commit).
    fn finish(&mut self) -> Result<(), WriteError> {
        self.flush()
    }

    /// What is in its log, for operators; 0 if it has none.
    fn log_bytes(&self) -> u64 {
        0
    }
}

/// What is committed at once.
pub(super) struct Batch<'b> {
    /// When it was accepted, in nanoseconds since the Unix epoch.
    pub(super) time: u64,
    /// In their order. What an earlier one writes, a later one may write again.
    pub(super) accepted: &'b [Accepted],
    /// Whether [`State::cursors`] are others than before. Then they are written, and what they have passed is
    /// dropped: events that every sink has, and acknowledgements.
    pub(super) cursors_moved: bool,
    /// Answers recorded by this time have expired. Some of them are dropped, the oldest first, and no more
    /// than [`MAX_SWEPT`].
    pub(super) expired: u64,
    /// Whether somebody waits for the disk.
    pub(super) durable: bool,
}

/// The most answers dropped by one batch of commits, which bounds how long sweeping delays them.
pub(super) const MAX_SWEPT: usize = 1_024;

/// One state of a database. While it is there, the database keeps what it refers to. Reads block the thread
/// they run on.
pub(super) trait Reader: Send + Sync {
    /// What is known of the database as a whole.
    fn state(&self) -> Result<State, ReadError>;

    /// The rows of a table; none if nothing was ever written to it.
    fn rows(&self, table: Table<'_>) -> Result<Option<Arc<dyn Rows>>, ReadError>;

    /// The plugins that have a table.
    fn plugins(&self) -> Result<Vec<Namespace>, ReadError>;

    /// The last event that a sink has acknowledged; the default if none.
    fn cursor(&self, sink: &str) -> Result<Position, ReadError>;

    /// Visits the undelivered events after `after`, in order, until told to stop.
    fn events(&self, after: Position, visit: &mut Visit<'_, Event>) -> Result<(), ReadError>;

    /// The answer recorded under `key`, expired or not.
    fn answer(&self, key: &AnswerKey) -> Result<Option<RecordedAnswer>, ReadError>;

    /// Visits all of them, in any order.
    fn answers(&self, visit: &mut Visit<'_, (AnswerKey, RecordedAnswer)>) -> Result<(), ReadError>;
}

/// A table: rows ordered by the bytes of their keys.
#[derive(Debug, Clone, Copy)]
pub(super) enum Table<'n> {
    /// A plugin's entries.
    Plugin(&'n Namespace),
    /// The host's own rows: see `deferred`.
    Host,
}

/// One table of a [`Reader`], which lives as long as anybody needs it.
pub(super) trait Rows: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, ReadError>;

    /// The size of the value under `key`; none if there is none.
    fn value_bytes(&self, key: &[u8]) -> Result<Option<usize>, ReadError>;

    /// Visits the rows between two keys, of which the first is not above the second, until told to stop.
    fn scan(
        &self,
        between: Between<'_>,
        direction: Direction,
        visit: &mut Visit<'_, Entry>,
    ) -> Result<(), ReadError>;
}

pub(super) type Visit<'v, T> = dyn FnMut(T) -> ControlFlow<()> + 'v;
pub(super) type Between<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// An answer, when it was recorded, in nanoseconds since the Unix epoch, and whose it is.
#[derive(Debug, Clone)]
pub(super) struct RecordedAnswer {
    pub(super) time: u64,
    pub(super) plugin: Namespace,
    pub(super) answer: Bytes,
}

/// A backend that was opened, and how to do so again.
pub(super) struct Opened {
    pub(super) backend: Box<dyn Backend>,
    /// None if that is not possible.
    pub(super) again: Option<Again>,
    /// Of which the size is worth knowing.
    pub(super) file: Option<PathBuf>,
}

/// Opens a backend after it has failed and was dropped, and checks all of it as far as it can be checked.
pub(super) type Again = Box<dyn FnMut(&Options) -> Result<Box<dyn Backend>, OpenError> + Send>;

/// What went wrong, for the operator.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// How a read failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The backend was dropped meanwhile.
    #[error("the database was closed")]
    Closed,
    /// Anything else.
    #[error("{0}")]
    Failed(Cause),
}

impl ReadError {
    /// Of a row that is not what this host writes.
    pub(super) fn damaged(what: impl Into<Cause>) -> Self {
        Self::Failed(what.into())
    }
}

/// How a write failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// Surely nothing was committed.
    #[error("{0}")]
    BeforeCommit(Cause),
    /// It failed on its way to the disk: it may be there after a restart.
    #[error("{0}")]
    DuringCommit(Cause),
}
