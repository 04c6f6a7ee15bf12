use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Shared;
use super::backend::Again;
use super::change::Change;
use super::committer::Committer;
use super::options::PluginOptions;
use super::outbox::Position;
use super::read_set::ReadSet;
use super::recovery;
use super::snapshot::Snapshot;
use super::submission::{CommitError, Outcome, Ticket};
use super::writer::Writer;

/// What the committer is asked to do.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are commits")]
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
    pub(super) change: Change,
    pub(super) plugin: Arc<PluginOptions>,
    /// Held until validation, so that the log keeps what it needs. None if nothing was read.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) reads: ReadSet,
    pub(super) submitted: Instant,
    /// What it counts against the bounds of the queue and of a batch.
    pub(super) bytes: usize,
    pub(super) ticket: Arc<Ticket>,
    pub(super) outcome: oneshot::Sender<Outcome>,
}

impl Request {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Commit(commit) => commit.bytes,
            Self::Attach { .. } | Self::Advance { .. } => 0,
        }
    }

    pub(super) fn refuse(self, error: CommitError) {
        let outcome = match self {
            Self::Commit(Commit { outcome, .. })
            | Self::Attach { outcome, .. }
            | Self::Advance { outcome, .. } => outcome,
        };
        answer(outcome, Err(error));
    }
}

/// Nobody may be waiting any more; the effects stand all the same.
pub(super) fn answer(to: oneshot::Sender<Outcome>, outcome: Outcome) {
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
    /// Starts the committer's thread, the only one that uses `writer` from now on.
    pub(super) fn start(shared: Arc<Shared>, again: Option<Again>, writer: Writer) -> std::io::Result<Self> {
        let (sender, requests) = sync_channel(shared.options.max_queued_commits.max(1));
        // Publishes the first snapshot.
        let committer = Committer::new(shared.clone(), writer, requests);
        let thread = std::thread::Builder::new().name("store-committer".into());
        let thread = thread.spawn(move || recovery::supervise(committer, again))?;
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
        if let Some(thread) = self.thread.lock().take() {
            // The committer reports its own panic, by failing the store.
            let _ = thread.join();
        }
    }
}

impl Drop for CommitQueue {
    fn drop(&mut self) {
        self.close();
    }
}
