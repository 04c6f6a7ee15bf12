//! What becomes of a store whose disk failed: it is closed, and from time to time opened again, checked from
//! end to end, and taken into use. No fsync is repeated: after a failed one only the file itself can say what
//! is in it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Shared;
use super::backend::Again;
use super::committer::{Committer, End};
use super::open::unpanicked;
use super::queue::Request;
use super::submission::CommitError;
use super::writer::Writer;

/// The longest wait between two attempts to open the store again.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Runs committers, one after the other, until the queue is closed and drained.
pub(super) fn supervise(mut committer: Committer, mut again: Option<Again>) {
    let shared = committer.shared();
    loop {
        let end = catch_unwind(AssertUnwindSafe(|| committer.run()));
        match end {
            Ok(End::Drained) => return shared.close(),
            Ok(End::Failed) => {}
            // Calls must not go on reading from a store that can no longer commit.
            Err(_) => return shared.fail(&"the committer panicked"),
        }
        // Closes the file, and with it the reads of transactions that are under way.
        let (sequence, requests) = committer.give_up();
        let Some(mut writer) = reopen(&shared, again.as_mut(), &requests) else {
            return shared.close();
        };
        writer.succeed(sequence);
        if !shared.recovered() {
            return;
        }
        tracing::warn!("the store was opened again and is whole; it takes calls");
        committer = Committer::new(shared.clone(), writer, requests);
        shared.wake();
    }
}

/// Tries until it succeeds; none if the queue is closed meanwhile. Refuses what comes until then.
fn reopen(
    shared: &Arc<Shared>,
    mut again: Option<&mut Again>,
    requests: &Receiver<Request>,
) -> Option<Writer> {
    let mut wait = shared.options.reopen_after;
    loop {
        let until = again.is_some().then(|| Instant::now() + wait);
        refuse_until(shared, requests, until)?;
        let again = again.as_mut()?;
        let opened = unpanicked(&shared.path, || {
            let backend = again(&shared.options)?;
            Writer::new(&shared.path, backend)
        });
        match opened {
            Ok(writer) => return Some(writer),
            Err(error) => {
                wait = (wait * 2).min(MAX_WAIT);
                tracing::error!(%error, ?wait, "the store cannot be opened again; trying later");
            }
        }
    }
}

/// None if the queue is closed.
fn refuse_until(shared: &Shared, requests: &Receiver<Request>, until: Option<Instant>) -> Option<()> {
    loop {
        let left = until.map_or(MAX_WAIT, |until| until.saturating_duration_since(Instant::now()));
        match requests.recv_timeout(left) {
            Ok(request) => {
                shared.queued_bytes.fetch_sub(request.bytes(), Ordering::Relaxed);
                request.refuse(CommitError::Unavailable("the store has failed"));
            }
            Err(RecvTimeoutError::Timeout) if until.is_some() => return Some(()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}
