//! The one thread that commits. It takes what waits in the queue, validates it in order, writes all that is
//! valid as one batch, publishes the new snapshot, and only then answers. A batch is durable unless all of
//! its commits are relaxed.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Shared;
use super::backend::WriteError;
use super::change::Accepted;
use super::commit_log::CommitLog;
use super::queue::{Commit, Request, answer};
use super::quota::Tally;
use super::read_set::Rewritten;
use super::snapshot::Snapshot;
use super::submission::{CommitError, Committed, Outcome};
use super::writer::Writer;
use crate::capability::Namespace;

/// The most commits in one batch: bounds how long the first of them waits for the others.
const MAX_BATCH_COMMITS: usize = 1_024;
/// The most bytes in one batch, which redb holds in memory until they are durable.
const MAX_BATCH_BYTES: usize = 16 << 20;
/// How soon it is noticed that a read has failed while nothing is committed.
const LOOK_FOR_FAILURE: Duration = Duration::from_secs(1);

pub(super) struct Committer {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    writer: Writer,
    relaxed: Relaxed,
    log: CommitLog,
    /// What `log` knows the keys of recorded answers under.
    answers: Namespace,
    /// What it knows the host's own rows under.
    host: Namespace,
    /// Those that may still be in use, oldest first.
    snapshots: Vec<(u64, Weak<Snapshot>)>,
}

/// What is written and not on the disk yet.
#[derive(Default)]
struct Relaxed {
    /// When it must be.
    due: Option<Instant>,
    /// Whether events and deferred calls are among it, which the host's own workers are to hear of then.
    events: bool,
    calls: bool,
}

/// Why a committer ended.
pub(super) enum End {
    /// The queue is closed, and everything in it done.
    Drained,
    /// The disk or the file failed.
    Failed,
}

/// What is written together, and who waits for it.
#[derive(Default)]
struct Batch {
    /// Whether anybody waits for the disk.
    durable: bool,
    accepted: Vec<Accepted>,
    /// Those who wait for what is `accepted`, in its order.
    waiting: Vec<Waiting>,
    tally: Tally,
    cursors_moved: bool,
    /// Of the requests about cursors.
    cursor_outcomes: Vec<oneshot::Sender<Outcome>>,
    /// Of the commits that were in conflict or found no room. They learn it when the batch is over: to run
    /// the call again before the commit it lost to is visible, or before room is made, would lose again.
    refused: Vec<(oneshot::Sender<Outcome>, CommitError)>,
}

struct Waiting {
    submitted: Instant,
    outcome: oneshot::Sender<Outcome>,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer, requests: Receiver<Request>) -> Self {
        let log = CommitLog::new(writer.sequence(), shared.options.max_log_bytes);
        let mut committer = Self {
            shared,
            requests,
            writer,
            relaxed: Relaxed::default(),
            log,
            answers: Namespace::of_host("/answers"),
            host: Namespace::of_host("/host"),
            snapshots: Vec::new(),
        };
        committer.publish(true);
        committer
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Closes the file. Gives the number of the last commit, and the queue.
    pub(super) fn give_up(self) -> (u64, Receiver<Request>) {
        (self.writer.sequence(), self.requests)
    }

    /// Runs until the queue is closed and drained, or the store has failed.
    pub(super) fn run(&mut self) -> End {
        loop {
            let now = Instant::now();
            if self.relaxed.due.is_some_and(|due| due <= now) {
                self.flush();
            }
            if self.shared.has_failed() {
                return End::Failed;
            }
            let wait = self.relaxed.due.map_or(LOOK_FOR_FAILURE, |due| due - now);
            match self.requests.recv_timeout(wait) {
                Ok(first) => self.process(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish();
                    return End::Drained;
                }
            }
        }
    }

    /// Brings relaxed commits to the disk.
    fn flush(&mut self) {
        if self.relaxed.due.is_none() {
            return;
        }
        let flushed = self.writer.flush();
        self.all_durable(flushed);
    }

    /// Leaves a file of which nothing is in the log only.
    fn finish(&mut self) {
        if self.shared.check_open().is_ok() {
            let finished = self.writer.finish();
            self.all_durable(finished);
        }
    }

    fn all_durable(&mut self, written: Result<(), WriteError>) {
        match written {
            Ok(()) => {
                self.shared.all_durable();
                self.durable();
            }
            Err(cause) => self.shared.fail(&cause),
        }
    }

    /// Everything written is on the disk.
    fn durable(&mut self) {
        let relaxed = std::mem::take(&mut self.relaxed);
        if relaxed.events {
            self.shared.published.send_replace(self.writer.sequence());
        }
        if relaxed.calls {
            self.shared.scheduled.send_replace(self.writer.sequence());
        }
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
            if batch.accepted.len() < MAX_BATCH_COMMITS && bytes < MAX_BATCH_BYTES {
                next = self.requests.try_recv().ok();
            }
        }
        let refused = std::mem::take(&mut batch.refused);
        if !batch.accepted.is_empty() || batch.cursors_moved || self.writer.sweep_is_due(&self.shared.options)
        {
            self.commit(batch);
        }
        for (outcome, error) in refused {
            answer(outcome, Err(error));
        }
    }

    fn admit(&mut self, request: Request, batch: &mut Batch) {
        if self.shared.check_open().is_err() {
            return request.refuse(CommitError::Unavailable("the store has failed"));
        }
        match request {
            Request::Commit(commit) => self.validate(commit, batch),
            Request::Attach { sinks, outcome } => {
                self.writer.attach(sinks);
                (batch.cursors_moved, batch.durable) = (true, true);
                batch.cursor_outcomes.push(outcome);
            }
            Request::Advance {
                sink,
                through,
                outcome,
            } => {
                // No call waits for this one: when it is lost with the power, events are delivered again.
                self.writer.advance(&sink, through);
                batch.cursors_moved = true;
                batch.cursor_outcomes.push(outcome);
            }
        }
    }

    /// The point of no return of a call: from here its effects stand, unless it is in conflict with an
    /// earlier commit (of this batch, too) or its events find no room.
    fn validate(&mut self, mut commit: Commit, batch: &mut Batch) {
        if !commit.ticket.accept() {
            return;
        }
        if let Some(snapshot) = commit.snapshot.take()
            && self.conflicts(&commit, snapshot.sequence)
        {
            self.shared.metrics.conflicts.increment();
            let over = self.contended(&commit, snapshot.sequence);
            let error = CommitError::Conflict(over);
            return batch.refused.push((commit.outcome, error));
        }
        // Only this thread replaces the snapshot: it is the state that the batch changes.
        if let Some(state) = self.shared.snapshot.load_full() {
            let quota = &commit.plugin.quota;
            match batch.tally.admit(&commit.change, quota, &batch.accepted, &state) {
                Ok(true) => {}
                Ok(false) => {
                    return batch.refused.push((commit.outcome, CommitError::Conflict(None)));
                }
                Err(error) => {
                    self.shared.read_failed(&error);
                    return answer(
                        commit.outcome,
                        Err(CommitError::Unavailable("the store has failed")),
                    );
                }
            }
        }
        let change = commit.change;
        let sequence = match self.writer.accept(&change, &self.shared.options) {
            Ok(sequence) => sequence,
            Err(full) => {
                return batch
                    .refused
                    .push((commit.outcome, CommitError::Unavailable(full)));
            }
        };
        if let Some((key, _)) = change.answer.recorded() {
            let key = Bytes::copy_from_slice(key);
            self.log.record(self.answers.clone(), sequence, vec![key]);
        }
        let keys = change.writes.keys().cloned().collect();
        self.log.record(change.namespace.clone(), sequence, keys);
        let keys = change.host.writes.keys().cloned().collect();
        self.log.record(self.host.clone(), sequence, keys);
        batch.durable |= commit.plugin.durability == super::Durability::Commit || change.host.durable;
        batch.accepted.push(Accepted { sequence, change });
        batch.waiting.push(Waiting {
            submitted: commit.submitted,
            outcome: commit.outcome,
        });
    }

    /// Whether what `commit` has read was changed after its snapshot.
    fn conflicts(&self, commit: &Commit, snapshot: u64) -> bool {
        let change = &commit.change;
        let answer = change.answer.key.as_ref();
        self.log.conflicts(&change.namespace, snapshot, &commit.reads)
            || self.log.conflicts(&self.host, snapshot, &change.host.reads)
            || answer.is_some_and(|key| self.log.key_conflicts(&self.answers, snapshot, key))
    }

    /// The first, in an order that all calls share, of what `commit` writes and others have changed.
    fn contended(&self, commit: &Commit, snapshot: u64) -> Option<Rewritten> {
        let change = &commit.change;
        let written = commit.reads.written_by(&change.writes);
        let changed = written.filter(|read| self.log.changed(&change.namespace, snapshot, *read));
        changed
            .map(|read| read.rewritten(&change.namespace, &self.shared.hashing))
            .min()
    }

    fn commit(&mut self, batch: Batch) {
        let began = Instant::now();
        let options = &self.shared.options;
        let written = self
            .writer
            .write(&batch.accepted, batch.cursors_moved, batch.durable, options);
        let error = match written {
            Ok(durable) => {
                self.count(&batch, began);
                self.publish(durable);
                return self.acknowledge(batch, durable);
            }
            Err(cause) => {
                self.shared.fail(&cause);
                match cause {
                    WriteError::BeforeCommit(_) => CommitError::Unavailable("the store has failed"),
                    WriteError::DuringCommit(_) => CommitError::Unknown,
                }
            }
        };
        let waiting = batch.waiting.into_iter().map(|waiting| waiting.outcome);
        waiting
            .chain(batch.cursor_outcomes)
            .for_each(|outcome| answer(outcome, Err(error.clone())));
    }

    fn count(&self, batch: &Batch, began: Instant) {
        let metrics = &self.shared.metrics;
        if !batch.accepted.is_empty() {
            metrics.group_seconds.observe(began.elapsed());
            metrics.group_commits.record(batch.accepted.len() as u64);
            metrics.commits.add(batch.accepted.len() as u64);
        }
        for waiting in &batch.waiting {
            metrics.commit_seconds.observe(waiting.submitted.elapsed());
        }
        for Accepted { change, .. } in &batch.accepted {
            if !change.events.is_empty() {
                metrics.count_published(&change.namespace, change.events.len());
            }
        }
    }

    /// Makes what is written visible to the transactions that begin from now on; if it is on the disk, to all
    /// that leaves the host as well.
    fn publish(&mut self, durable: bool) {
        match self.writer.snapshot() {
            Ok(snapshot) => {
                let snapshot = Arc::new(snapshot);
                self.snapshots
                    .push((snapshot.sequence, Arc::downgrade(&snapshot)));
                self.shared.publish(snapshot, durable);
            }
            Err(cause) => self.shared.fail(&cause),
        }
        self.snapshots.retain(|(_, snapshot)| snapshot.strong_count() > 0);
        let oldest = self
            .snapshots
            .first()
            .map_or(self.writer.sequence(), |(sequence, _)| *sequence);
        self.log.forget_through(oldest);
        let metrics = &self.shared.metrics;
        metrics.conflict_log_bytes.set(self.log.bytes() as u64);
        metrics.log_bytes.set(self.writer.log_bytes());
        let (undelivered, bytes) = self.writer.outbox();
        metrics.undelivered.set(undelivered);
        metrics.undelivered_bytes.set(bytes);
    }

    fn acknowledge(&mut self, batch: Batch, durable: bool) {
        for (Accepted { sequence, change }, waiting) in batch.accepted.into_iter().zip(batch.waiting) {
            self.relaxed.events |= !change.events.is_empty();
            self.relaxed.calls |= change.host.schedules;
            let sequence = Some(sequence);
            answer(waiting.outcome, Ok(Committed { sequence }));
        }
        for outcome in batch.cursor_outcomes {
            answer(outcome, Ok(Committed { sequence: None }));
        }
        if durable {
            self.durable();
        } else {
            let due = || Instant::now() + self.shared.options.relaxed_window;
            self.relaxed.due.get_or_insert_with(due);
        }
    }
}
