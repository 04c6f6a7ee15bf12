use std::path::Path;
use std::sync::Arc;

use super::Options;
use super::answers;
use super::backend::{Backend, Batch, State, WriteError};
use super::change::{Accepted, Change};
use super::deferred::Levels;
use super::open::OpenError;
use super::outbox::Position;
use super::snapshot::Snapshot;

/// The open database, and what is known of it without reading it. Owned by the committer alone, so that it
/// closes when the committer ends.
pub(super) struct Writer {
    backend: Box<dyn Backend>,
    state: State,
    deferred: Levels,
}

impl Writer {
    /// # Errors
    /// If it cannot be read; `path` says where it is.
    pub(super) fn new(path: &Path, backend: Box<dyn Backend>) -> Result<Self, OpenError> {
        let unreadable = |error| OpenError::read(path, error);
        let reader = backend.reader().map_err(unreadable)?;
        Ok(Self {
            state: reader.state().map_err(unreadable)?,
            deferred: Levels::read(&*reader).map_err(unreadable)?,
            backend,
        })
    }

    /// Numbers no commit as one of another writer's, of which some may be lost, and is newer than all that was
    /// seen of it.
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

    /// What is in the database's log.
    pub(super) fn log_bytes(&self) -> u64 {
        self.backend.log_bytes()
    }

    /// The state after the last commit.
    pub(super) fn snapshot(&self) -> Result<Snapshot, super::backend::ReadError> {
        Ok(Snapshot {
            sequence: self.state.sequence,
            usage: self.state.usage.clone(),
            deferred: self.deferred.clone(),
            reader: self.backend.reader()?,
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
        if !self
            .deferred
            .have_room(&change.namespace, &change.host, &options.deferred)
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
        self.deferred.apply(&change.namespace, &change.host);
        state.sequence += 1;
        Ok(state.sequence)
    }

    /// Whether a batch without commits has something to do.
    pub(super) fn sweep_is_due(&self, options: &Options) -> bool {
        let oldest = self.state.oldest_answer;
        oldest.is_some_and(|recorded| options.answers.expired(recorded))
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
        options: &Options,
    ) -> Result<bool, WriteError> {
        let time = options.answers.now();
        let batch = Batch {
            time,
            accepted,
            cursors_moved,
            expired: options.answers.expired_by(time),
            durable,
        };
        self.backend.commit(&batch, &mut self.state)
    }

    /// Makes what was written durable.
    pub(super) fn flush(&mut self) -> Result<(), WriteError> {
        self.backend.flush()
    }

    /// The same, before the database is closed in good order.
    pub(super) fn finish(&mut self) -> Result<(), WriteError> {
        self.backend.finish()
    }
}
