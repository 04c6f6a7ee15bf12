//! The one thread that commits. It takes what waits in the queue, validates it in order, writes all that is
//! valid as one durable batch, publishes the new snapshot, and only then answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::oneshot;

use super::Shared;
use super::commit_log::CommitLog;
use super::queue::{Commit, Request, answer};
use super::snapshot::Snapshot;
use super::submission::{CommitError, Committed, Outcome};
use super::writer::{Accepted, WriteError, Writer};
use crate::capability::Namespace;

/// The most commits in one batch: bounds how long the first of them waits for the others.
const MAX_BATCH_COMMITS: usize = 1_024;
/// The most bytes in one batch, which redb holds in memory until they are durable.
const MAX_BATCH_BYTES: usize = 16 << 20;

pub(super) struct Committer {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    writer: Writer,
    log: CommitLog,
    /// Under which the log has the host's own rows.
    host: Namespace,
    /// Those that may still be in use, oldest first.
    snapshots: Vec<(u64, Weak<Snapshot>)>,
}

/// What becomes durable together, and who waits for it.
#[derive(Default)]
struct Batch {
    commits: Vec<Accepted>,
    cursors_moved: bool,
    /// Of the requests about cursors.
    cursor_outcomes: Vec<oneshot::Sender<Outcome>>,
    /// Of the commits that were in conflict. They learn it when the batch is over: to run the call again
    /// before the commit it lost to is visible would lose again.
    conflicts: Vec<oneshot::Sender<Outcome>>,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer, requests: Receiver<Request>) -> Self {
        let log = CommitLog::new(writer.sequence(), shared.options.max_log_bytes);
        let mut committer = Self {
            shared,
            requests,
            writer,
            log,
            host: Namespace::of_host(),
            snapshots: Vec::new(),
        };
        committer.publish();
        committer
    }

    /// Runs until the queue is closed and drained.
    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        let drained = catch_unwind(AssertUnwindSafe(|| {
            while let Ok(first) = self.requests.recv() {
                self.process(first);
            }
        }));
        match drained {
            Ok(()) => shared.close(),
            // Calls must not go on reading from a store that can no longer commit.
            Err(_) => shared.fail(&"the committer panicked"),
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
            if batch.commits.len() < MAX_BATCH_COMMITS && bytes < MAX_BATCH_BYTES {
                next = self.requests.try_recv().ok();
            }
        }
        let conflicts = std::mem::take(&mut batch.conflicts);
        if !batch.commits.is_empty() || batch.cursors_moved {
            self.commit(batch);
        }
        conflicts
            .into_iter()
            .for_each(|outcome| answer(outcome, Err(CommitError::Conflict)));
    }

    fn admit(&mut self, request: Request, batch: &mut Batch) {
        if self.shared.check_open().is_err() {
            return request.refuse(CommitError::Unavailable("the store has failed"));
        }
        match request {
            Request::Commit(commit) => self.validate(commit, batch),
            Request::Attach { sinks, outcome } => {
                self.writer.attach(sinks);
                batch.cursors_moved = true;
                batch.cursor_outcomes.push(outcome);
            }
            Request::Advance {
                sink,
                through,
                outcome,
            } => {
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
            && (self
                .log
                .conflicts(&commit.namespace, snapshot.sequence, &commit.reads)
                || self
                    .log
                    .conflicts(&self.host, snapshot.sequence, &commit.host.reads))
        {
            self.shared.metrics.conflicts.increment();
            return batch.conflicts.push(commit.outcome);
        }
        let (host, levels) = (&commit.host, &self.shared.deferred);
        if !levels.has_room(&commit.namespace, &host.pending, &self.shared.options.deferred) {
            let full = CommitError::Unavailable("the plugin has too many timers pending");
            return answer(commit.outcome, Err(full));
        }
        let Some(sequence) = self.writer.accept(&commit.events, &self.shared.options) else {
            return answer(
                commit.outcome,
                Err(CommitError::Unavailable("the outbox of events is full")),
            );
        };
        levels.apply(&commit.namespace, &host.pending, &host.dead);
        let keys = commit.writes.keys().cloned().collect();
        self.log.record(commit.namespace.clone(), sequence, keys);
        let keys = commit.host.writes.keys().cloned().collect();
        self.log.record(self.host.clone(), sequence, keys);
        batch.commits.push(Accepted { sequence, commit });
    }

    fn commit(&mut self, batch: Batch) {
        let began = Instant::now();
        let error = match self.writer.write(&batch.commits, batch.cursors_moved) {
            Ok(()) => {
                self.count(&batch, began);
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
            .chain(batch.cursor_outcomes)
            .for_each(|outcome| answer(outcome, Err(error.clone())));
    }

    fn count(&self, batch: &Batch, began: Instant) {
        let metrics = &self.shared.metrics;
        if !batch.commits.is_empty() {
            metrics.group_seconds.observe(began.elapsed());
            metrics.group_commits.record(batch.commits.len() as u64);
            metrics.commits.add(batch.commits.len() as u64);
        }
        for Accepted { commit, .. } in &batch.commits {
            metrics.commit_seconds.observe(commit.submitted.elapsed());
            if !commit.events.is_empty() {
                metrics.count_published(&commit.namespace, commit.events.len());
            }
        }
    }

    /// Makes what is durable visible to the transactions that begin from now on.
    fn publish(&mut self) {
        match self.writer.snapshot() {
            Ok(snapshot) => {
                let snapshot = Arc::new(snapshot);
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
            .map_or(self.writer.sequence(), |(sequence, _)| *sequence);
        self.log.forget_through(oldest);
        let metrics = &self.shared.metrics;
        metrics.conflict_log_bytes.set(self.log.bytes() as u64);
        let (undelivered, bytes) = self.writer.outbox();
        metrics.undelivered.set(undelivered);
        metrics.undelivered_bytes.set(bytes);
    }

    fn acknowledge(&self, batch: Batch) {
        let (mut published, mut scheduled) = (false, false);
        for Accepted { sequence, commit } in batch.commits {
            published |= !commit.events.is_empty();
            scheduled |= commit.host.schedules;
            answer(
                commit.outcome,
                Ok(Committed {
                    sequence: Some(sequence),
                }),
            );
        }
        for outcome in batch.cursor_outcomes {
            answer(outcome, Ok(Committed { sequence: None }));
        }
        if published {
            self.shared.published.send_replace(self.writer.sequence());
        }
        if scheduled {
            self.shared.scheduled.send_replace(self.writer.sequence());
        }
    }
}
