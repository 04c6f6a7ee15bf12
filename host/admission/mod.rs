//! How many calls run at once, how many may wait for their turn, and how often a caller may come.
//!
//! A call passes the bound of its method, that of its plugin and that of the host; the last is a sandbox slot
//! of the engine. It waits at most until its deadline, in a bounded queue, and does not begin to wait when
//! it would not be served in time. Waiting cannot deadlock: all calls pass the bounds in this order.
//!
//! Half of the slots and of the places to wait are divided evenly among the plugins, each plugin's for itself
//! alone; all share the other half. So a plugin that is flooded leaves the others theirs.

mod gate;
pub mod rates;

use std::sync::Arc;
use std::time::Duration;

pub use gate::{Gate, Inside, Place, Queue, Stay};

use crate::deadline::Deadline;
use crate::status::Failure;

/// While fewer calls than so many for each thread run, none is turned away for being slow: they may well be
/// waiting for something else than a processor.
const BUSY_CALLS_PER_THREAD: usize = 16;

/// What a client that is turned away is told to wait.
const MIN_RETRY_AFTER: Duration = Duration::from_millis(100);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The host's bounds.
#[derive(Debug)]
pub struct Admission {
    shared: Arc<Gate>,
    queue: Queue,
    /// From how many running calls on the host counts as busy.
    busy: usize,
}

/// What one plugin has for itself, over all its generations.
#[derive(Debug)]
pub struct Share {
    reserved: Arc<Gate>,
    queue: Queue,
    /// With `max_concurrent_calls`.
    bound: Option<Arc<Gate>>,
}

/// How slots and places are divided.
#[derive(Debug, Clone, Copy)]
pub struct Division {
    /// `server.max_concurrent_calls`
    pub running: usize,
    /// `server.max_queued_calls`
    pub waiting: usize,
    /// How many plugins there are.
    pub plugins: usize,
    /// Threads that run calls.
    pub threads: usize,
}

impl Division {
    /// What each plugin has of `total`: an even share of half of it. One plugin alone needs none.
    fn reserved(self, total: usize) -> usize {
        if self.plugins > 1 {
            total / 2 / self.plugins
        } else {
            0
        }
    }

    /// What all of them share.
    fn shared(self, total: usize) -> usize {
        total - self.plugins * self.reserved(total)
    }
}

/// What a call is measured by besides the host's own bounds.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'c> {
    /// Its plugin's.
    pub share: &'c Share,
    /// With the method's `max_concurrent_calls`.
    pub bound: Option<&'c Arc<Gate>>,
    /// How long calls of the method take.
    pub stay: &'c Stay,
    /// How long this one would take, if it is known better: it would have to wait for a processor.
    pub expected: Option<Duration>,
}

/// Held while a call runs.
#[derive(Debug)]
pub struct Permit<'c> {
    slot: Inside,
    _plugin: Option<Inside>,
    _method: Option<Inside>,
    stay: &'c Stay,
    /// Whether the host was busy as it came.
    busy: bool,
}

impl Admission {
    /// By the host's bounds.
    pub fn new(division: Division) -> Self {
        Self {
            shared: Gate::new(division.shared(division.running)),
            queue: Queue::new(division.shared(division.waiting)),
            busy: division.threads.saturating_mul(BUSY_CALLS_PER_THREAD),
        }
    }

    /// Turns away a call that could not be served in time even if it were let in now: before its request is
    /// read, which costs the host and the client as much as a refusal does.
    ///
    /// # Errors
    /// If it is turned away.
    pub fn foresee(&self, claim: Claim<'_>, deadline: &Deadline) -> Result<(), Failure> {
        let computes = claim.expected.is_some();
        if (computes || self.is_busy(claim.share)) && !in_time(claim.expected(), deadline) {
            return Err(self.overloaded(claim));
        }
        Ok(())
    }

    /// Lets a call in, at once or when it is its turn.
    ///
    /// # Errors
    /// If it would not be served in time, too many wait, or its time is up.
    pub async fn admit<'c>(&self, claim: Claim<'c>, deadline: &Deadline) -> Result<Permit<'c>, Failure> {
        self.foresee(claim, deadline)?;
        let busy = self.is_busy(claim.share);
        if let Some(permit) = self.try_admit(claim, busy) {
            return Ok(permit);
        }
        let share = claim.share;
        let place = share.queue.take_place().or_else(|| self.queue.take_place());
        let _place = place.ok_or_else(|| self.overloaded(claim))?;
        if !in_time(self.expected_wait(claim) + claim.expected(), deadline) {
            return Err(self.overloaded(claim));
        }
        let turn = async {
            Permit {
                _method: enter(claim.bound).await,
                _plugin: enter(share.bound.as_ref()).await,
                slot: tokio::select! {
                    slot = share.reserved.enter() => slot,
                    slot = self.shared.enter() => slot,
                },
                stay: claim.stay,
                busy: true,
            }
        };
        Ok(deadline.bound(turn).await?)
    }

    /// What is used of the slots and places that all plugins share.
    pub fn usage(&self) -> Usage {
        Usage::of(&self.shared, &self.queue)
    }

    fn try_admit<'c>(&self, claim: Claim<'c>, busy: bool) -> Option<Permit<'c>> {
        let try_enter = |bound: Option<&Arc<Gate>>| match bound {
            Some(gate) => gate.try_enter().map(Some),
            None => Some(None),
        };
        Some(Permit {
            _method: try_enter(claim.bound)?,
            _plugin: try_enter(claim.share.bound.as_ref())?,
            slot: claim
                .share
                .reserved
                .try_enter()
                .or_else(|| self.shared.try_enter())?,
            stay: claim.stay,
            busy,
        })
    }

    fn is_busy(&self, share: &Share) -> bool {
        self.shared.running() + share.reserved.running() >= self.busy
    }

    /// For all that a call would have to wait for. It waits for one after the other, and those before it in
    /// one queue are often before it in the next, so the longest wait is nearer the truth than the sum.
    fn expected_wait(&self, claim: Claim<'_>) -> Duration {
        let slot = self
            .shared
            .expected_wait()
            .min(match claim.share.reserved.limit() {
                0 => Duration::MAX,
                _ => claim.share.reserved.expected_wait(),
            });
        let bounds = [claim.bound, claim.share.bound.as_ref()];
        let bounds = bounds.into_iter().flatten().map(|gate| gate.expected_wait());
        bounds.fold(slot, Duration::max)
    }

    fn overloaded(&self, claim: Claim<'_>) -> Failure {
        overloaded(self.expected_wait(claim).max(claim.expected()))
    }
}

impl Claim<'_> {
    fn expected(&self) -> Duration {
        self.expected.unwrap_or_else(|| self.stay.expected())
    }
}

/// Turns a call away that would have had to wait for so long.
pub fn overloaded(wait: Duration) -> Failure {
    let retry_after = wait.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER);
    // Those turned away at once must not come back at once.
    Failure::Overloaded {
        retry_after: retry_after.mul_f64(rand::random_range(1.0..2.0)),
    }
}

impl Share {
    /// Of one plugin, whose own `max_concurrent_calls` may bound it further.
    pub fn new(division: Division, bound: Option<usize>) -> Self {
        Self {
            reserved: Gate::new(division.reserved(division.running)),
            queue: Queue::new(division.reserved(division.waiting)),
            bound: bound.map(Gate::new),
        }
    }

    /// What is used of the plugin's own slots and places.
    pub fn usage(&self) -> Usage {
        Usage::of(&self.reserved, &self.queue)
    }
}

/// How many slots and places are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls that run.
    pub running: usize,
    /// Calls that may run.
    pub slots: usize,
    /// Calls that wait.
    pub waiting: usize,
}

impl Usage {
    fn of(gate: &Gate, queue: &Queue) -> Self {
        Self {
            running: gate.running(),
            slots: gate.limit(),
            waiting: queue.waiting(),
        }
    }
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            running: self.running + other.running,
            slots: self.slots + other.slots,
            waiting: self.waiting + other.waiting,
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // Else nobody asks. A call that was cut off took at least so long.
        if self.busy || self.slot.is_wanted() {
            self.stay.learn(self.slot.elapsed());
        }
    }
}

async fn enter(gate: Option<&Arc<Gate>>) -> Option<Inside> {
    match gate {
        Some(gate) => Some(gate.enter().await),
        None => None,
    }
}

/// Whether what is expected to take so long ends before the deadline, with half as much again for being wrong.
fn in_time(expected: Duration, deadline: &Deadline) -> bool {
    deadline
        .remaining()
        .is_none_or(|remaining| expected + expected / 2 <= remaining)
}

#[cfg(test)]
mod tests;
