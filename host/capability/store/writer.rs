use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, WriteTransaction};

use super::Options;
use super::answers::{self, Answers};
use super::deferred::{ACKNOWLEDGEMENTS, Levels, acknowledged};
use super::layout;
use super::outbox::{self, Position};
use super::queue::Commit;
use super::snapshot::Snapshot;
use super::transaction::Write;
use super::usage::{self, UsageByPlugin};
use crate::capability::Namespace;

/// The open file, and what is known of it without reading it. Owned by the committer alone, so that it closes
/// when the committer ends.
pub(super) struct Writer {
    database: Database,
    /// Runs ahead of the file while a batch is being made durable. When that fails the writer is given up,
    /// and another one begins with what is in the file: nothing is ever taken back.
    state: State,
}

pub(super) struct State {
    /// The last commit.
    pub(super) sequence: u64,
    pub(super) outbox_entries: u64,
    pub(super) outbox_bytes: u64,
    /// Per sink, the last event it acknowledged.
    pub(super) cursors: BTreeMap<Arc<str>, Position>,
    pub(super) usage: UsageByPlugin,
    pub(super) answers: Answers,
    pub(super) deferred: Levels,
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
    pub(super) fn new(database: Database, state: State) -> Self {
        Self { database, state }
    }

    /// Numbers no commit as one of `other`'s, of which some may be lost, and is newer than all that was seen
    /// of it.
    pub(super) fn succeed(&mut self, sequence: u64) {
        self.state.sequence = self.state.sequence.max(sequence) + 1;
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
            usage: self.state.usage.clone(),
            deferred: self.state.deferred.clone(),
            read: self.database.begin_read()?,
        })
    }

    /// Gives the next commit its number.
    ///
    /// # Errors
    /// What there is no room for.
    pub(super) fn accept(&mut self, commit: &Commit, options: &Options) -> Result<u64, &'static str> {
        let state = &mut self.state;
        let events = &commit.events;
        if let Some((_, answer)) = commit.answer.recorded() {
            let kept = state
                .usage
                .get(&commit.namespace)
                .map_or(0, |usage| usage.answer_bytes);
            if kept + answers::counted_bytes(answer) > options.answers.max_bytes {
                return Err("the plugin has no room for another answer under an idempotency key");
            }
        }
        let deferred = &options.deferred;
        if !state
            .deferred
            .have_room(&commit.namespace, &commit.host, deferred)
        {
            return Err("the plugin has too many timers pending");
        }
        if !events.is_empty() {
            let entries = state.outbox_entries + events.len() as u64;
            let bytes = state.outbox_bytes + events.iter().map(|event| event.bytes() as u64).sum::<u64>();
            if entries > options.max_outbox_entries || bytes > options.max_outbox_bytes {
                return Err("the outbox of events is full");
            }
            (state.outbox_entries, state.outbox_bytes) = (entries, bytes);
        }
        state.deferred.apply(&commit.namespace, &commit.host);
        state.sequence += 1;
        Ok(state.sequence)
    }

    /// Whether a batch without commits has something to do.
    pub(super) fn sweep_is_due(&self) -> bool {
        self.state.answers.due()
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

    /// Writes `commits`, and the cursors if they were moved: all or nothing. They are durable if that is
    /// asked for, and else with the next write that is.
    pub(super) fn write(
        &mut self,
        commits: &[Accepted],
        cursors_moved: bool,
        durability: Durability,
    ) -> Result<(), WriteError> {
        let transaction = self.begin(durability).map_err(WriteError::BeforeCommit)?;
        self.apply(&transaction, commits, cursors_moved)
            .map_err(WriteError::BeforeCommit)?;
        transaction.commit().map_err(WriteError::DuringCommit)
    }

    /// Makes what was written durable.
    pub(super) fn flush(&mut self) -> Result<(), WriteError> {
        let transaction = self
            .begin(Durability::Immediate)
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
    fn begin(&self, durability: Durability) -> Result<WriteTransaction, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        transaction.set_quick_repair(matches!(durability, Durability::Immediate));
        Ok(transaction)
    }

    fn apply(
        &mut self,
        transaction: &WriteTransaction,
        commits: &[Accepted],
        cursors_moved: bool,
    ) -> Result<(), redb::Error> {
        let mut changed = apply_writes(transaction, commits, &mut self.state.usage)?;
        apply_host_rows(transaction, commits)?;
        apply_events(transaction, commits)?;
        changed.extend(
            self.state
                .answers
                .apply(transaction, commits, &mut self.state.usage)?,
        );
        usage::write(transaction, &self.state.usage, &changed)?;
        if cursors_moved {
            self.apply_cursors(transaction)?;
        }
        let mut meta = transaction.open_table(layout::META)?;
        meta.insert(layout::META_SEQUENCE, self.state.sequence)?;
        meta.insert(layout::META_OUTBOX_BYTES, self.state.outbox_bytes)?;
        Ok(())
    }

    /// Writes the cursors, and drops the acknowledgements that they have passed and the events that every
    /// sink has.
    fn apply_cursors(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let state = &mut self.state;
        let mut cursors = transaction.open_table(layout::CURSORS)?;
        cursors.retain(|sink, _| state.cursors.contains_key(sink))?;
        for (sink, position) in &state.cursors {
            cursors.insert(&**sink, position.key())?;
        }
        let mut host = transaction.open_table(layout::HOST)?;
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

/// Returns the plugins whose usage may have changed.
fn apply_writes(
    transaction: &WriteTransaction,
    commits: &[Accepted],
    usage: &mut UsageByPlugin,
) -> Result<BTreeSet<Namespace>, redb::Error> {
    let mut tables = HashMap::new();
    for Accepted { sequence, commit } in commits {
        if commit.writes.is_empty() {
            continue;
        }
        let table = match tables.entry(&commit.namespace) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(closed) => {
                closed.insert(transaction.open_table(layout::data(commit.namespace.as_str()))?)
            }
        };
        let usage = usage.entry(commit.namespace.clone()).or_default();
        for (key, write) in &commit.writes {
            let replaced = match write {
                Write::Put(value) => {
                    usage.keys += 1;
                    usage.bytes += (key.len() + value.len()) as u64;
                    table.insert(&**key, (*sequence, &**value))?
                }
                Write::Delete => table.remove(&**key)?,
            };
            if let Some(replaced) = replaced {
                usage.keys = usage.keys.saturating_sub(1);
                let bytes = (key.len() + replaced.value().1.len()) as u64;
                usage.bytes = usage.bytes.saturating_sub(bytes);
            }
        }
    }
    Ok(tables.into_keys().cloned().collect())
}

fn apply_host_rows(transaction: &WriteTransaction, commits: &[Accepted]) -> Result<(), redb::Error> {
    if commits.iter().all(|accepted| accepted.commit.host.is_empty()) {
        return Ok(());
    }
    let mut table = transaction.open_table(layout::HOST)?;
    for Accepted { sequence, commit } in commits {
        for (key, write) in &commit.host.writes {
            match write {
                Write::Put(value) => table.insert(&**key, (*sequence, &**value))?,
                Write::Delete => table.remove(&**key)?,
            };
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
