use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, WriteTransaction};

use super::Options;
use super::answers::{self, Answers};
use super::apply;
use super::change::{Accepted, Change};
use super::deferred::{ACKNOWLEDGEMENTS, Levels, acknowledged};
use super::layout;
use super::outbox::{self, Position};
use super::snapshot::Snapshot;
use super::storage::Storage;
use super::usage::{self, UsageByPlugin};
use super::wal::{LogKey, Record, Wal};

/// The open file, and what is known of it without reading it. Owned by the committer alone, so that it closes
/// when the committer ends.
pub(super) struct Writer {
    database: Database,
    storage: Arc<Storage>,
    wal: Wal,
    max_log_bytes: usize,
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

/// How a write failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// Surely nothing was committed.
    #[error(transparent)]
    BeforeCommit(redb::Error),
    /// It failed on its way to the disk: it may be there after a restart.
    #[error(transparent)]
    DuringCommit(redb::Error),
}

impl WriteError {
    fn before(error: impl Into<redb::Error>) -> Self {
        Self::BeforeCommit(error.into())
    }

    fn during(error: impl Into<redb::Error>) -> Self {
        Self::DuringCommit(error.into())
    }
}

impl Writer {
    /// On an open database. What a crash left in its log is yet to be [recovered](Self::recover).
    pub(super) fn new(
        storage: Arc<Storage>,
        database: Database,
        log_key: &LogKey,
        state: State,
        options: &Options,
    ) -> Self {
        Self {
            database,
            wal: Wal::new(&storage, log_key, options.checkpoint_bytes),
            storage,
            max_log_bytes: options.checkpoint_bytes,
            state,
        }
    }

    /// Brings into the database what the log has and it lacks; true if there was any such thing. The state is
    /// to be read again then.
    ///
    /// # Errors
    /// If the log cannot be read or written, or was written by another version.
    pub(super) fn recover(&mut self, logged: u64) -> Result<bool, redb::Error> {
        let mut records = Vec::new();
        while let Some(record) = self.wal.next()? {
            records.push(record);
        }
        // Also where the log has less: then another one may have been there before.
        if self.wal.records() == logged {
            return Ok(false);
        }
        let unreadable = || redb::Error::Corrupted("its log holds what this host does not write".into());
        let transaction = self.begin(Durability::Immediate)?;
        for record in records.iter().skip(usize::try_from(logged).unwrap_or(usize::MAX)) {
            let record = Record::decode(&**record).map_err(|_| unreadable())?;
            let accepted = record.accepted().ok_or_else(unreadable)?;
            let cursors = record.cursors();
            let cursors_moved = cursors.is_some();
            self.state.cursors = cursors.unwrap_or_else(|| std::mem::take(&mut self.state.cursors));
            (self.state.sequence, self.state.outbox_bytes) = (record.sequence, record.outbox_bytes);
            self.apply(&transaction, &accepted, cursors_moved, record.time)?;
        }
        self.begin_log(transaction).map_err(|error| match error {
            WriteError::BeforeCommit(error) | WriteError::DuringCommit(error) => error,
        })?;
        Ok(true)
    }

    /// What is in the file after a recovery.
    pub(super) fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// For tools that work on the database as a whole.
    pub(super) fn database(&mut self) -> &mut Database {
        &mut self.database
    }

    /// Closes the file.
    pub(super) fn close(self) -> Result<(), redb::Error> {
        Ok(self.database.close()?)
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

    /// What is in the log.
    pub(super) fn log_bytes(&self) -> u64 {
        self.wal.bytes()
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
    pub(super) fn accept(&mut self, change: &Change, options: &Options) -> Result<u64, &'static str> {
        let state = &mut self.state;
        let events = &change.events;
        if let Some((_, answer)) = change.answer.recorded() {
            let kept = state
                .usage
                .get(&change.namespace)
                .map_or(0, |usage| usage.answer_bytes);
            if kept + answers::counted_bytes(answer) > options.answers.max_bytes {
                return Err("the plugin has no room for another answer under an idempotency key");
            }
        }
        let deferred = &options.deferred;
        if !state
            .deferred
            .have_room(&change.namespace, &change.host, deferred)
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
        state.deferred.apply(&change.namespace, &change.host);
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

    /// Writes what was `accepted`, and the cursors if they were moved: all or nothing. It is on the disk if
    /// that is asked for, and else with the next write that is. True if it is on the disk.
    pub(super) fn write(
        &mut self,
        accepted: &[Accepted],
        cursors_moved: bool,
        durable: bool,
    ) -> Result<bool, WriteError> {
        let state = &self.state;
        let now = state.answers.now();
        let cursors = cursors_moved.then_some(&state.cursors);
        let record = Record::new(now, state.sequence, state.outbox_bytes, accepted, cursors);
        let record = record.encode_to_vec();
        if !self.wal.has_room(&record) {
            let transaction = self.begin(Durability::Immediate).map_err(WriteError::before)?;
            self.apply(&transaction, accepted, cursors_moved, now)
                .map_err(WriteError::before)?;
            self.begin_log(transaction)?;
            return Ok(true);
        }
        let transaction = self.begin(Durability::None).map_err(WriteError::before)?;
        self.apply(&transaction, accepted, cursors_moved, now)
            .and_then(|()| count_logged(&transaction, self.wal.records() + 1))
            .map_err(WriteError::before)?;
        self.wal.append(&record).map_err(WriteError::during)?;
        if durable {
            self.wal.sync().map_err(WriteError::during)?;
        }
        transaction.commit().map_err(WriteError::during)?;
        Ok(durable)
    }

    /// Makes what was written durable.
    pub(super) fn flush(&mut self) -> Result<(), WriteError> {
        self.wal.sync().map_err(WriteError::during)
    }

    /// Brings everything into the database, and the database to the disk.
    pub(super) fn finish(&mut self) -> Result<(), WriteError> {
        if self.wal.records() == 0 {
            return Ok(());
        }
        let transaction = self.begin(Durability::Immediate).map_err(WriteError::before)?;
        self.begin_log(transaction)
    }

    /// Quick repair, which brings two-phase commit with it, costs a second fsync and the saving of the
    /// allocator's state, once for as many batches as the log holds.
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

    /// Commits `transaction`, which brings all before it to the disk, too, and with it begins the log anew.
    fn begin_log(&mut self, transaction: WriteTransaction) -> Result<(), WriteError> {
        let key = choose_log_key(&transaction).map_err(WriteError::before)?;
        transaction.commit().map_err(WriteError::during)?;
        self.wal = Wal::new(&self.storage, &key, self.max_log_bytes);
        Ok(())
    }

    fn apply(
        &mut self,
        transaction: &WriteTransaction,
        accepted: &[Accepted],
        cursors_moved: bool,
        now: u64,
    ) -> Result<(), redb::Error> {
        let state = &mut self.state;
        let mut changed = apply::writes(transaction, accepted, &mut state.usage)?;
        apply::host_rows(transaction, accepted)?;
        apply::events(transaction, accepted, now)?;
        changed.extend(
            state
                .answers
                .apply(transaction, accepted, now, &mut state.usage)?,
        );
        usage::write(transaction, &state.usage, &changed)?;
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

/// A log that begins with `transaction`.
pub(super) fn choose_log_key(transaction: &WriteTransaction) -> Result<LogKey, redb::Error> {
    let key: LogKey = rand::random();
    transaction.open_table(layout::LOG_KEY)?.insert((), &key)?;
    count_logged(transaction, 0)?;
    Ok(key)
}

fn count_logged(transaction: &WriteTransaction, records: u64) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(layout::META)?;
    meta.insert(layout::META_LOGGED, records)?;
    Ok(())
}
