//! A bound on what runs at once, and how long one would wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// So many may be inside at once; the others wait in the order in which they came.
#[derive(Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
    limit: usize,
    waiting: AtomicUsize,
    stay: Stay,
}

/// Inside until it is dropped.
#[derive(Debug)]
pub struct Inside {
    gate: Arc<Gate>,
    since: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    /// For `limit` at once. At 0 nobody ever gets in.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(limit)),
            limit,
            waiting: AtomicUsize::new(0),
            stay: Stay::default(),
        })
    }

    /// If there is room, and nobody is waiting for it.
    pub fn try_enter(self: &Arc<Self>) -> Option<Inside> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        Some(self.inside(permit))
    }

    /// Waits for its turn.
    pub async fn enter(self: &Arc<Self>) -> Inside {
        let _waiting = Place::taken(&self.waiting);
        match self.permits.clone().acquire_owned().await {
            Ok(permit) => self.inside(permit),
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }

    fn inside(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Inside {
        Inside {
            gate: self.clone(),
            since: Instant::now(),
            _permit: permit,
        }
    }

    /// How many may be inside.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many are inside.
    pub fn running(&self) -> usize {
        self.limit.saturating_sub(self.permits.available_permits())
    }

    /// How long one that comes now would wait, by how long those before it stayed; zero if there is room.
    pub fn expected_wait(&self) -> Duration {
        if self.permits.available_permits() > 0 {
            return Duration::ZERO;
        }
        let before = u32::try_from(self.waiting.load(Ordering::Relaxed) + 1).unwrap_or(u32::MAX);
        let limit = u32::try_from(self.limit.max(1)).unwrap_or(u32::MAX);
        self.stay.expected().saturating_mul(before) / limit
    }
}

impl Inside {
    /// Whether somebody waits for the place.
    pub fn is_wanted(&self) -> bool {
        self.gate.waiting.load(Ordering::Relaxed) > 0
    }

    /// For how long.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // What nobody asks for is not learnt, so that calls write nothing in common while there is room.
        if self.is_wanted() {
            self.gate.stay.learn(self.since.elapsed());
        }
    }
}

/// How long something takes, as a moving average in nanoseconds; 0 while nothing is known. One lesson lost
/// between two threads is no harm.
#[derive(Debug, Default)]
pub struct Stay(AtomicU64);

impl Stay {
    /// How much of a lesson is taken over.
    const WEIGHT: u64 = 8;

    /// Of one more.
    pub fn learn(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let known = self.0.load(Ordering::Relaxed);
        let learnt = match known {
            0 => took,
            known => known - known / Self::WEIGHT + took / Self::WEIGHT,
        };
        self.0.store(learnt.max(1), Ordering::Relaxed);
    }

    /// Of the next one.
    pub fn expected(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// A bounded number of places to wait.
#[derive(Debug)]
pub struct Queue {
    taken: AtomicUsize,
    places: usize,
}

/// Given back however the wait ends.
#[derive(Debug)]
pub struct Place<'q>(&'q AtomicUsize);

impl Queue {
    /// Of `places` places.
    pub fn new(places: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            places,
        }
    }

    /// None if all are taken.
    pub fn take_place(&self) -> Option<Place<'_>> {
        let place = Place::taken(&self.taken);
        // Of those that come at once, each counts the others: at worst one too many is turned away.
        (self.taken.load(Ordering::Relaxed) <= self.places).then_some(place)
    }
}

impl<'q> Place<'q> {
    fn taken(count: &'q AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_told_from_how_long_others_stay() {
        let gate = Gate::new(2);
        assert_eq!(gate.expected_wait(), Duration::ZERO);
        let inside = [gate.try_enter().expect("room"), gate.try_enter().expect("room")];
        assert!(gate.try_enter().is_none());
        assert_eq!(gate.expected_wait(), Duration::ZERO, "nothing is known");
        let waiter = {
            let gate = gate.clone();
            tokio::spawn(async move { gate.enter().await })
        };
        tokio::time::sleep(Duration::from_millis(80)).await;
        let [first, second] = inside;
        drop(first);
        let third = waiter.await.expect("its turn");
        assert_eq!(gate.running(), 2);
        assert_eq!(
            gate.expected_wait(),
            Duration::from_millis(40),
            "one before two places"
        );
        drop((second, third));
        assert_eq!(gate.expected_wait(), Duration::ZERO, "there is room");
    }

    #[test]
    fn a_stay_is_learnt_and_unlearnt() {
        let stay = Stay::default();
        stay.learn(Duration::from_millis(8));
        assert_eq!(stay.expected(), Duration::from_millis(8));
        for _ in 0..100 {
            stay.learn(Duration::from_millis(1));
        }
        assert!(stay.expected() < Duration::from_micros(1100));
    }
}
