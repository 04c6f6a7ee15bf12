//! Timers under test: what is pending, and the calls that are due.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;

use super::answer::{Failure, Response};
use super::refusal::over_limit;
use crate::bindings::mortise::plugin::types::Error;

const MAX_PER_CALL: usize = 100;
const MAX_REQUEST_BYTES: usize = 64 << 10;
const MAX_PENDING: usize = 100_000;
/// How often a call is made.
pub(super) const MAX_ATTEMPTS: u32 = 10;
/// How long it may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A call that waits for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// To cancel it by.
    pub id: String,
    /// When it is made, or made again.
    pub due: SystemTime,
    /// `/package.Service/Method`.
    pub method: String,
    /// The encoded message.
    pub request: Vec<u8>,
    /// How often it has failed.
    pub failures: u32,
    /// How many deliveries of events led to it.
    pub(super) hops: u32,
}

impl Timer {
    /// The request.
    ///
    /// # Errors
    /// When it does not parse as an `M`.
    pub fn decode<M: Message + Default>(&self) -> Result<M, prost::DecodeError> {
        M::decode(self.request.as_slice())
    }
}

/// A timer whose call was made.
#[derive(Debug)]
pub struct Fired {
    /// As it was.
    pub timer: Timer,
    /// What came of it.
    pub result: Result<Response<Vec<u8>>, Failure>,
}

/// The timers of a fake host.
#[derive(Debug, Default)]
pub(super) struct Timers {
    pub(super) pending: BTreeMap<String, Timer>,
    /// Those that failed too often.
    pub(super) dead: Vec<Timer>,
    scheduled: u64,
}

impl Timers {
    pub(super) fn apply(&mut self, staged: StagedTimers) {
        for timer in staged.scheduled {
            self.pending.insert(timer.id.clone(), timer);
        }
        for id in staged.settled {
            self.pending.remove(&id);
        }
    }

    /// What is due by now, in the order of time.
    pub(super) fn due(&self, now: SystemTime) -> Vec<Timer> {
        let mut due: Vec<_> = self
            .pending
            .values()
            .filter(|timer| timer.due <= now)
            .cloned()
            .collect();
        due.sort_by_key(|timer| timer.due);
        due
    }

    /// Notes that a call has failed. The pauses are the longest that a host makes.
    pub(super) fn failed(&mut self, id: &str, now: SystemTime) {
        let Some(mut timer) = self.pending.remove(id) else {
            return;
        };
        timer.failures += 1;
        if timer.failures >= MAX_ATTEMPTS {
            return self.dead.push(timer);
        }
        timer.due = now + MIN_PAUSE.saturating_mul(1 << (timer.failures - 1)).min(MAX_PAUSE);
        self.pending.insert(timer.id.clone(), timer);
    }

    /// In the order in which they are given out, for tests to be the same each time.
    fn next_id(&self, staged: usize) -> String {
        format!("timer-{}", self.scheduled + staged as u64 + 1)
    }

    pub(super) fn count_scheduled(&mut self, staged: &StagedTimers) {
        self.scheduled += staged.scheduled.len() as u64;
    }
}

/// What a call does to timers.
#[derive(Debug, Default)]
pub(super) struct StagedTimers {
    scheduled: Vec<Timer>,
    /// Cancelled, or the one that this call is made for.
    settled: Vec<String>,
}

impl StagedTimers {
    /// The id, and the bytes that it counts.
    pub(super) fn schedule(
        &mut self,
        timers: &Timers,
        when: u64,
        method: &str,
        request: &[u8],
        hops: u32,
    ) -> Result<String, Error> {
        if request.len() > MAX_REQUEST_BYTES {
            let message = format!("a timer's request of {} bytes is too long", request.len());
            return Err(over_limit(message, MAX_REQUEST_BYTES));
        }
        if self.scheduled.len() >= MAX_PER_CALL {
            return Err(over_limit("the call schedules too many timers", MAX_PER_CALL));
        }
        if timers.pending.len() + self.scheduled.len() >= MAX_PENDING {
            return Err(over_limit("the plugin has too many timers pending", MAX_PENDING));
        }
        let id = timers.next_id(self.scheduled.len());
        self.scheduled.push(Timer {
            id: id.clone(),
            due: UNIX_EPOCH + Duration::from_nanos(when),
            method: method.to_owned(),
            request: request.to_vec(),
            failures: 0,
            hops,
        });
        Ok(id)
    }

    /// Whether there was such a timer.
    pub(super) fn settle(&mut self, timers: &Timers, id: &str) -> bool {
        let known = timers.pending.contains_key(id) || self.scheduled.iter().any(|timer| timer.id == id);
        let settled = self.settled.iter().any(|settled| settled == id);
        if known && !settled {
            self.settled.push(id.to_owned());
        }
        known && !settled
    }

    pub(super) fn is_empty(&self) -> bool {
        self.scheduled.is_empty() && self.settled.is_empty()
    }
}
