//! The one thread that writes. It takes what waits in the queue, validates it in order, applies what is valid
//! in one write transaction with one durable commit, publishes the new snapshot and only then answers.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, WriteTransaction};
use tokio::sync::oneshot;

use super::Shared;
use super::commit_log::CommitLog;
use super::layout;
use super::outbox::{self, Position, StagedEvent};
use super::read_set::ReadSet;
use super::snapshot::Snapshot;
use super::submission::{CommitError, Committed, Outcome, Ticket};
use super::transaction::Write;
use crate::capability::Namespace;

/// The most commits in one write transaction: bounds how long the first of them waits for the others.
const MAX_BATCH_COMMITS: usize = 1_024;
/// The most staged bytes in one write transaction, which redb holds in memory until its commit.
const MAX_BATCH_BYTES: usize = 16 << 20;

/// What the committer is asked to do.
pub(super) enum Request {
    Commit(Commit),
    /// Declares the sinks of the outbox.
    Attach {
        sinks: Vec<Arc<str>>,
        outcome: oneshot::Sender<Outcome>,
    },
    /// Moves a sink's cursor.
    Advance {
        sink: Arc<str>,
        through: Position,
        outcome: oneshot::Sender<Outcome>,
    },
}

/// A transaction as the committer needs it.
pub(super) struct Commit {
    pub(super) namespace: Namespace,
    /// Held until validation, so that the log keeps what it needs. None if nothing was read.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) reads: ReadSet,
    pub(super) writes: BTreeMap<Bytes, Write>,
    pub(super) events: Vec<StagedEvent>,
    /// What it counts against the bounds of the queue and of a batch.
    pub(super) bytes: usize,
    pub(super) ticket: Arc<Ticket>,
    pub(super) outcome: oneshot::Sender<Outcome>,
}

impl Request {
    fn bytes(&self) -> usize {
        match self {
            Self::Commit(commit) => commit.bytes,
            Self::Attach { .. } | Self::Advance { .. } => 0,
        }
    }

    fn refuse(self, error: CommitError) {
        let outcome = match self {
            Self::Commit(Commit { outcome, .. })
            | Self::Attach { outcome, .. }
            | Self::Advance { outcome, .. } => outcome,
        };
        answer(outcome, Err(error));
    }
}

/// Nobody may be waiting any more; the effects stand all the same.
fn answer(to: oneshot::Sender<Outcome>, outcome: Outcome) {
    let _ = to.send(outcome);
}

/// The way to the committer: a bounded queue and the thread at its end.
pub(super) struct CommitQueue {
    shared: Arc<Shared>,
    /// None once closed; the committer ends when it has drained the queue.
    sender: Mutex<Option<SyncSender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl CommitQueue {
    pub(super) fn start(
        shared: Arc<Shared>,
        database: Database,
        state: CommittedState,
    ) -> Result<Self, std::io::Error> {
        let (sender, requests) = sync_channel(shared.options.max_queued_commits.max(1));
        let log = CommitLog::new(state.sequence, shared.options.max_log_bytes);
        let snapshots = Vec::new();
        let mut committer = Committer {
            database,
            shared: shared.clone(),
            requests,
            log,
            state,
            snapshots,
        };
        committer.publish();
        let thread = std::thread::Builder::new()
            .name("store-committer".into())
            .spawn(move || {
                let shared = committer.shared.clone();
                // Calls must not go on reading from a store that can no longer commit.
                if catch_unwind(AssertUnwindSafe(|| committer.run())).is_err() {
                    shared.fail(&"the committer panicked");
                }
            })?;
        Ok(Self {
            shared,
            sender: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands `request` to the committer, without waiting.
    pub(super) fn send(&self, request: Request) -> Result<(), CommitError> {
        let bytes = request.bytes();
        let sender = self.sender.lock();
        let Some(sender) = sender.as_ref() else {
            return Err(CommitError::Unavailable("the store is closed"));
        };
        let full = CommitError::Unavailable("too many commits are waiting");
        let queued = self.shared.queued_bytes.load(Ordering::Relaxed);
        if bytes > self.shared.options.max_queued_bytes.saturating_sub(queued) {
            return Err(full);
        }
        // Only senders add, and they hold the lock: the sum cannot pass the bound between check and addition.
        self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        sender.try_send(request).map_err(|error| {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => full,
                TrySendError::Disconnected(_) => CommitError::Unavailable("the store has failed"),
            }
        })
    }

    /// Takes nothing more, lets the committer finish what waits, and waits for it.
    pub(super) fn close(&self) {
        drop(self.sender.lock().take());
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the store's committer had panicked");
        }
    }
}

impl Drop for CommitQueue {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the committer knows of the file without reading it.
pub(super) struct CommittedState {
    /// The last commit.
    pub(super) sequence: u64,
    pub(super) outbox_entries: u64,
    pub(super) outbox_bytes: u64,
    /// Per sink, the last event it acknowledged.
    pub(super) cursors: BTreeMap<Arc<str>, Position>,
}

struct Committer {
    database: Database,
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    log: CommitLog,
    /// Runs ahead of the file while a batch is being written. If that fails the store is closed for good,
    /// so it is never taken back.
    state: CommittedState,
    /// Oldest first.
    snapshots: Vec<(u64, Weak<Snapshot>)>,
}

/// What one write transaction makes durable.
#[derive(Default)]
struct Batch {
    commits: Vec<Accepted>,
    cursors_moved: bool,
    /// Of the requests about cursors.
    outcomes: Vec<oneshot::Sender<Outcome>>,
}

/// A validated transaction.
struct Accepted {
    sequence: u64,
    commit: Commit,
}

enum WriteError {
    /// Surely nothing was committed.
    BeforeCommit(redb::Error),
    /// The commit failed on its way to the disk: it may be there after a restart.
    DuringCommit(redb::CommitError),
}

impl Committer {
    fn run(mut self) {
        while let Ok(first) = self.requests.recv() {
            self.process(first);
        }
        self.shared.close();
    }

    /// Takes `first` and what else waits, up to a batch's bounds.
    fn process(&mut self, first: Request) {
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(request) = next.take() {
            self.shared
                .queued_bytes
                .fetch_sub(request.bytes(), Ordering::Relaxed);
            bytes += request.bytes();
            self.admit(request, &mut batch);
            if batch.commits.len() < MAX_BATCH_COMMITS && bytes < MAX_BATCH_BYTES {
                next = self.requests.try_recv().ok();
            }
        }
        if !batch.commits.is_empty() || batch.cursors_moved {
            self.commit(batch);
        }
    }

    fn admit(&mut self, request: Request, batch: &mut Batch) {
        if self.shared.check_open().is_err() {
            return request.refuse(CommitError::Unavailable("the store has failed"));
        }
        match request {
            Request::Commit(commit) => self.validate(commit, batch),
            Request::Attach { sinks, outcome } => {
                let known = std::mem::take(&mut self.state.cursors);
                let cursor = |sink: Arc<str>| {
                    let position = known.get(&sink).copied().unwrap_or_default();
                    (sink, position)
                };
                self.state.cursors = sinks.into_iter().map(cursor).collect();
                batch.cursors_moved = true;
                batch.outcomes.push(outcome);
            }
            Request::Advance {
                sink,
                through,
                outcome,
            } => {
                if let Some(cursor) = self.state.cursors.get_mut(&sink) {
                    *cursor = through.max(*cursor);
                }
                batch.cursors_moved = true;
                batch.outcomes.push(outcome);
            }
        }
    }

    /// The point of no return of a call: from here its effects stand, unless it is in conflict with an
    /// earlier one (of this batch, too) or its events find no room.
    fn validate(&mut self, mut commit: Commit, batch: &mut Batch) {
        if !commit.ticket.accept() {
            return;
        }
        if let Some(snapshot) = commit.snapshot.take()
            && self
                .log
                .conflicts(&commit.namespace, snapshot.sequence, &commit.reads)
        {
            return answer(commit.outcome, Err(CommitError::Conflict));
        }
        if !self.reserve_outbox(&commit.events) {
            return answer(
                commit.outcome,
                Err(CommitError::Unavailable("the outbox of events is full")),
            );
        }
        self.state.sequence += 1;
        let sequence = self.state.sequence;
        if !commit.writes.is_empty() {
            let keys = commit.writes.keys().cloned().collect();
            self.log.record(commit.namespace.clone(), sequence, keys);
        }
        batch.commits.push(Accepted { sequence, commit });
    }

    fn reserve_outbox(&mut self, events: &[StagedEvent]) -> bool {
        if events.is_empty() {
            return true;
        }
        let entries = self.state.outbox_entries + events.len() as u64;
        let bytes = self.state.outbox_bytes + events.iter().map(|event| event.bytes() as u64).sum::<u64>();
        let options = &self.shared.options;
        let fits = entries <= options.max_outbox_entries && bytes <= options.max_outbox_bytes;
        if fits {
            (self.state.outbox_entries, self.state.outbox_bytes) = (entries, bytes);
        }
        fits
    }

    fn commit(&mut self, batch: Batch) {
        let error = match self.write(&batch) {
            Ok(()) => {
                self.publish();
                return self.acknowledge(batch);
            }
            Err(WriteError::BeforeCommit(cause)) => {
                self.shared.fail(&cause);
                CommitError::Unavailable("the store has failed")
            }
            Err(WriteError::DuringCommit(cause)) => {
                self.shared.fail(&cause);
                CommitError::Unknown
            }
        };
        let waiting = batch.commits.into_iter().map(|accepted| accepted.commit.outcome);
        waiting
            .chain(batch.outcomes)
            .for_each(|outcome| answer(outcome, Err(error.clone())));
    }

    fn write(&mut self, batch: &Batch) -> Result<(), WriteError> {
        let mut transaction = self
            .database
            .begin_write()
            .map_err(|e| WriteError::BeforeCommit(e.into()))?;
        make_durable(&mut transaction).map_err(|e| WriteError::BeforeCommit(e.into()))?;
        self.apply(&transaction, batch)
            .map_err(WriteError::BeforeCommit)?;
        transaction.commit().map_err(WriteError::DuringCommit)
    }

    fn apply(&mut self, transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
        apply_writes(transaction, &batch.commits)?;
        apply_events(transaction, &batch.commits)?;
        if batch.cursors_moved {
            self.apply_cursors(transaction)?;
        }
        let mut meta = transaction.open_table(layout::META)?;
        meta.insert(layout::META_SEQUENCE, self.state.sequence)?;
        meta.insert(layout::META_OUTBOX_BYTES, self.state.outbox_bytes)?;
        Ok(())
    }

    /// Writes the cursors and drops the events that every sink has.
    fn apply_cursors(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut cursors = transaction.open_table(layout::CURSORS)?;
        cursors.retain(|sink, _| self.state.cursors.contains_key(sink))?;
        for (sink, position) in &self.state.cursors {
            cursors.insert(&**sink, position.key())?;
        }
        if let Some(through) = self.state.cursors.values().min() {
            let mut table = transaction.open_table(layout::OUTBOX)?;
            let (_, bytes) = outbox::trim(&mut table, *through)?;
            self.state.outbox_entries = table.len()?;
            self.state.outbox_bytes = self.state.outbox_bytes.saturating_sub(bytes);
        }
        Ok(())
    }

    /// Makes what is durable visible to the transactions that begin from now on.
    fn publish(&mut self) {
        match self.database.begin_read() {
            Ok(read) => {
                let snapshot = Arc::new(Snapshot {
                    sequence: self.state.sequence,
                    read,
                });
                self.snapshots
                    .push((snapshot.sequence, Arc::downgrade(&snapshot)));
                self.shared.publish(snapshot);
            }
            Err(cause) => self.shared.fail(&cause),
        }
        self.snapshots.retain(|(_, snapshot)| snapshot.strong_count() > 0);
        let oldest = self
            .snapshots
            .first()
            .map_or(self.state.sequence, |(sequence, _)| *sequence);
        self.log.forget_through(oldest);
    }

    fn acknowledge(&self, batch: Batch) {
        let mut published = false;
        for Accepted { sequence, commit } in batch.commits {
            published |= !commit.events.is_empty();
            answer(
                commit.outcome,
                Ok(Committed {
                    sequence: Some(sequence),
                }),
            );
        }
        for outcome in batch.outcomes {
            answer(outcome, Ok(Committed { sequence: None }));
        }
        if published {
            self.shared.published.send_replace(self.state.sequence);
        }
    }
}

/// One phase, one fsync: redb's checksums tell a commit that was cut short from one that is whole.
fn make_durable(transaction: &mut WriteTransaction) -> Result<(), redb::SetDurabilityError> {
    transaction.set_durability(Durability::Immediate)
}

fn apply_writes(transaction: &WriteTransaction, commits: &[Accepted]) -> Result<(), redb::Error> {
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
        for (key, write) in &commit.writes {
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
            outbox.insert((*sequence, index), event.row(now, &commit.namespace))?;
        }
    }
    Ok(())
}
