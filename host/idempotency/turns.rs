//! One call at a time for each key.
//!
//! A second call with the same key waits rather than being refused: it is nearly always the first one's
//! client that lost its connection, and what it asks for will be there in a moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::capability::store::AnswerKey;
use crate::deadline::Deadline;
use crate::status::Failure;

/// When a call that waited in vain, or could not wait, should come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bounds on waiting for another call with the same key.
#[derive(Debug, Clone)]
pub struct WaitOptions {
    /// The longest wait. The deadline bounds it as well.
    pub max_wait: Duration,
    /// How many calls may wait for one key.
    pub max_waiting: usize,
}

#[derive(Debug)]
pub(super) struct Turns {
    options: WaitOptions,
    /// Of the calls in progress, so no larger than those may be many.
    keys: Mutex<HashMap<AnswerKey, Queue>>,
}

#[derive(Debug)]
struct Queue {
    /// One permit, handed on in the order of asking.
    turn: Arc<Semaphore>,
    /// Calls that have the turn or wait for it.
    calls: usize,
}

/// The right to run. Dropping it lets the next call run.
#[derive(Debug)]
pub(super) struct Turn<'t> {
    _place: Place<'t>,
    _permit: OwnedSemaphorePermit,
}

/// A call in a queue.
#[derive(Debug)]
struct Place<'t> {
    turns: &'t Turns,
    key: AnswerKey,
}

impl Turns {
    pub(super) fn new(options: WaitOptions) -> Self {
        Self {
            options,
            keys: Mutex::default(),
        }
    }

    pub(super) async fn take(&self, key: AnswerKey, deadline: &Deadline) -> Result<Turn<'_>, Failure> {
        let in_use = Failure::IdempotencyKeyInUse {
            retry_after: RETRY_AFTER,
        };
        let Some((place, turn)) = self.queue(key) else {
            return Err(in_use);
        };
        let waiting = tokio::time::timeout(self.options.max_wait, turn.acquire_owned());
        match deadline.bound(waiting).await? {
            Ok(Ok(permit)) => Ok(Turn {
                _place: place,
                _permit: permit,
            }),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(in_use),
        }
    }

    /// None if too many calls wait already.
    fn queue(&self, key: AnswerKey) -> Option<(Place<'_>, Arc<Semaphore>)> {
        let mut keys = self.keys.lock();
        let queue = keys.entry(key).or_insert_with(|| Queue {
            turn: Arc::new(Semaphore::new(1)),
            calls: 0,
        });
        if queue.calls > self.options.max_waiting {
            return None;
        }
        queue.calls += 1;
        Some((Place { turns: self, key }, queue.turn.clone()))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut keys = self.turns.keys.lock();
        if let Some(queue) = keys.get_mut(&self.key) {
            queue.calls -= 1;
            if queue.calls == 0 {
                keys.remove(&self.key);
            }
        }
    }
}
