use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::read_set::Rewritten;

/// A commit that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the order of all commits, which is also the version of the values it wrote. None if
    /// there was nothing to commit.
    pub sequence: Option<u64>,
}

/// Why a transaction was not, or may not have been, committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Something it read has changed since; named if the transaction also writes it. Nothing was committed;
    /// running the call again may succeed.
    #[error("the call's transaction was in conflict with another one")]
    Conflict(Option<Rewritten>),
    /// The store could not take it. Nothing was committed.
    #[error("nothing was committed: {0}")]
    Unavailable(&'static str),
    /// The disk failed while the commit was being made durable: after a restart it may be there or not.
    #[error("it is not known whether the call's changes are durable: the disk failed during the commit")]
    Unknown,
}

/// A transaction on its way to the committer. Await it for the outcome.
///
/// The committer's acceptance is the point of no return. Before it, dropping the submission takes the
/// transaction back; after it, the effects stand whether or not anybody awaits the outcome.
#[must_use = "dropping a submission may withdraw it"]
pub struct Submission(State);

enum State {
    Decided(Result<Committed, CommitError>),
    Waiting {
        ticket: Arc<Ticket>,
        outcome: oneshot::Receiver<Outcome>,
    },
}

pub(super) type Outcome = Result<Committed, CommitError>;

impl Submission {
    pub(super) fn decided(outcome: Outcome) -> Self {
        Self(State::Decided(outcome))
    }

    pub(super) fn waiting(ticket: Arc<Ticket>, outcome: oneshot::Receiver<Outcome>) -> Self {
        Self(State::Waiting { ticket, outcome })
    }

    /// Whether the point of no return is behind.
    pub fn accepted(&self) -> bool {
        match &self.0 {
            State::Decided(outcome) => outcome.is_ok(),
            State::Waiting { ticket, .. } => ticket.is_accepted(),
        }
    }

    /// Takes the transaction back: nothing of it will be committed.
    ///
    /// # Errors
    /// Gives the submission back if it was already accepted; its outcome is still to be awaited.
    pub fn withdraw(self) -> Result<(), Self> {
        match &self.0 {
            State::Waiting { ticket, .. } if !ticket.withdraw() => Err(self),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Decided(outcome) => f.debug_tuple("Submission").field(outcome).finish(),
            State::Waiting { ticket, .. } => f.debug_tuple("Submission").field(ticket).finish(),
        }
    }
}

impl Future for Submission {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.0 {
            State::Decided(outcome) => Poll::Ready(outcome.clone()),
            State::Waiting { ticket, outcome } => Pin::new(outcome).poll(context).map(|outcome| {
                // The committer always answers; it can only be gone if it panicked.
                outcome.unwrap_or_else(|_| match ticket.is_accepted() {
                    true => Err(CommitError::Unknown),
                    false => Err(CommitError::Unavailable("the store has failed")),
                })
            }),
        }
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        if let State::Waiting { ticket, .. } = &self.0 {
            ticket.withdraw();
        }
    }
}

/// Decides between the committer, who accepts, and the caller, who withdraws: whoever comes first.
#[derive(Debug, Default)]
pub(super) struct Ticket(AtomicU8);

const QUEUED: u8 = 0;
const ACCEPTED: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Ticket {
    /// False if it was withdrawn.
    pub(super) fn accept(&self) -> bool {
        self.settle(ACCEPTED)
    }

    /// False if it was accepted.
    fn withdraw(&self) -> bool {
        self.settle(WITHDRAWN)
    }

    fn is_accepted(&self) -> bool {
        self.0.load(Ordering::Acquire) == ACCEPTED
    }

    fn settle(&self, state: u8) -> bool {
        match self
            .0
            .compare_exchange(QUEUED, state, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => true,
            Err(settled) => settled == state,
        }
    }
}
