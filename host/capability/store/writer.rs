use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, WriteTransaction};

use super::Options;
use super::deferred::{ACKNOWLEDGEMENTS, acknowledged};
use super::layout;
use super::lock::DirectoryLock;
use super::outbox::{self, Position, StagedEvent};
use super::queue::Commit;
use super::snapshot::Snapshot;
use super::transaction::Write;

/// The open file, and what is known of it without reading it. Owned by the committer alone, so that it closes
/// when the committer ends.
pub(super) struct Writer {
    database: Database,
    /// Runs ahead of the file while a batch is being made durable. When that fails, the store is closed for
    /// good: nothing is ever taken back.
    state: State,
    /// Keeps other processes out of the directory; released after the file is closed.
    _lock: Option<DirectoryLock>,
}

pub(super) struct State {
    /// The last commit.
    pub(super) sequence: u64,
    pub(super) outbox_entries: u64,
    pub(super) outbox_bytes: u64,
    /// Per sink, the last event it acknowledged.
    pub(super) cursors: BTreeMap<Arc<str>, Position>,
}

/// A validated transaction and its place in the order.
pub(super) struct Accepted {
    pub(super) sequence: u64,
    pub(super) commit: Commit,
}

pub(super) enum WriteError {
    /// Surely nothing was committed.
    BeforeCommit(redb::Error),
    /// The commit failed on its way to the disk: it may be there after a restart.
    DuringCommit(redb::CommitError),
}

impl Writer {
    pub(super) fn new(database: Database, state: State, lock: Option<DirectoryLock>) -> Self {
        Self {
            database,
            state,
            _lock: lock,
        }
    }

    /// The last commit, durable or just being made so.
    pub(super) fn sequence(&self) -> u64 {
        self.state.sequence
    }

    /// Events that wait for delivery, and their bytes.
    pub(super) fn outbox(&self) -> (u64, u64) {
        (self.state.outbox_entries, self.state.outbox_bytes)
    }

    /// What is durable now.
    pub(super) fn snapshot(&self) -> Result<Snapshot, redb::TransactionError> {
        Ok(Snapshot {
            sequence: self.state.sequence,
            read: self.database.begin_read()?,
        })
    }

    /// Gives the next commit its number; none if its events find no room in the outbox.
    pub(super) fn accept(&mut self, events: &[StagedEvent], options: &Options) -> Option<u64> {
        let state = &mut self.state;
        if !events.is_empty() {
            let entries = state.outbox_entries + events.len() as u64;
            let bytes = state.outbox_bytes + events.iter().map(|event| event.bytes() as u64).sum::<u64>();
            if entries > options.max_outbox_entries || bytes > options.max_outbox_bytes {
                return None;
            }
            (state.outbox_entries, state.outbox_bytes) = (entries, bytes);
        }
        state.sequence += 1;
        Some(state.sequence)
    }

    /// From now on the outbox keeps events for these sinks only.
    pub(super) fn attach(&mut self, sinks: Vec<Arc<str>>) {
        let known = std::mem::take(&mut self.state.cursors);
        let cursor = |sink: Arc<str>| {
            let position = known.get(&sink).copied().unwrap_or_default();
            (sink, position)
        };
        self.state.cursors = sinks.into_iter().map(cursor).collect();
    }

    /// Moves the cursor of an attached sink, never backwards.
    pub(super) fn advance(&mut self, sink: &str, through: Position) {
        if let Some(cursor) = self.state.cursors.get_mut(sink) {
            *cursor = through.max(*cursor);
        }
    }

    /// Makes `commits`, and the cursors if they were moved, durable: all or nothing.
    pub(super) fn write(&mut self, commits: &[Accepted], cursors_moved: bool) -> Result<(), WriteError> {
        let transaction = self.begin().map_err(WriteError::BeforeCommit)?;
        self.apply(&transaction, commits, cursors_moved)
            .map_err(WriteError::BeforeCommit)?;
        transaction.commit().map_err(WriteError::DuringCommit)
    }

    /// Quick repair, which brings two-phase commit with it, costs a second fsync and the saving of the
    /// allocator's state: a lone commit takes about twice as long, a batch of a few hundred hardly longer.
    ///
    /// It is worth that. A host that was killed opens a store of a gigabyte in milliseconds; without it the
    /// file is read and checked from end to end, which takes more than ten seconds from a cold disk and grows
    /// with the file. And whether a commit is whole then rests on the order of two fsyncs, not on a checksum
    /// that is no match for somebody who chooses the data, as plugins and their clients do.
    fn begin(&self) -> Result<WriteTransaction, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
        Ok(transaction)
    }

    fn apply(
        &mut self,
        transaction: &WriteTransaction,
        commits: &[Accepted],
        cursors_moved: bool,
    ) -> Result<(), redb::Error> {
        apply_writes(transaction, commits)?;
        apply_events(transaction, commits)?;
        if cursors_moved {
            self.apply_cursors(transaction)?;
        }
        let mut meta = transaction.open_table(layout::META)?;
        meta.insert(layout::META_SEQUENCE, self.state.sequence)?;
        meta.insert(layout::META_OUTBOX_BYTES, self.state.outbox_bytes)?;
        Ok(())
    }

    /// Writes the cursors, and drops the acknowledgements that they have passed and the events that every sink has.
    fn apply_cursors(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let state = &mut self.state;
        let mut cursors = transaction.open_table(layout::CURSORS)?;
        cursors.retain(|sink, _| state.cursors.contains_key(sink))?;
        for (sink, position) in &state.cursors {
            cursors.insert(&**sink, position.key())?;
        }
        let mut host = transaction.open_table(layout::data(layout::HOST))?;
        host.retain_in(ACKNOWLEDGEMENTS, |key, _| {
            acknowledged(key).is_some_and(|(sink, position)| {
                state.cursors.get(sink).is_some_and(|cursor| position > *cursor)
            })
        })?;
        if let Some(through) = state.cursors.values().min() {
            let mut events = transaction.open_table(layout::OUTBOX)?;
            let trimmed = outbox::trim(&mut events, *through)?;
            state.outbox_entries = events.len()?;
            state.outbox_bytes = state.outbox_bytes.saturating_sub(trimmed);
        }
        Ok(())
    }
}

fn apply_writes(transaction: &WriteTransaction, commits: &[Accepted]) -> Result<(), redb::Error> {
    let mut tables = HashMap::new();
    for Accepted { sequence, commit } in commits {
        let own = (commit.namespace.as_str(), &commit.writes);
        for (name, writes) in [own, (layout::HOST, &commit.host.writes)] {
            if writes.is_empty() {
                continue;
            }
            let table = match tables.entry(name) {
                Entry::Occupied(open) => open.into_mut(),
                Entry::Vacant(closed) => closed.insert(transaction.open_table(layout::data(name))?),
            };
            for (key, write) in writes {
                match write {
                    Write::Put(value) => table.insert(&**key, (*sequence, &**value))?,
                    Write::Delete => table.remove(&**key)?,
                };
            }
        }
    }
    Ok(())
}

fn apply_events(transaction: &WriteTransaction, commits: &[Accepted]) -> Result<(), redb::Error> {
    if commits.iter().all(|accepted| accepted.commit.events.is_empty()) {
        return Ok(());
    }
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let mut outbox = transaction.open_table(layout::OUTBOX)?;
    for Accepted { sequence, commit } in commits {
        for (index, event) in (0..).zip(&commit.events) {
            outbox.insert((*sequence, index), event.row(now, commit.hops, &commit.namespace))?;
        }
    }
    Ok(())
}
