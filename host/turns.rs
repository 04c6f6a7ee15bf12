//! One call at a time for each key, in the order in which they asked.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::deadline::{Deadline, Expired};
use crate::observe::metrics::{Distribution, Durations};

/// Bounds on waiting for other calls with the same key.
#[derive(Debug, Clone)]
pub struct WaitOptions {
    /// The longest wait. The deadline bounds it as well.
    pub max_wait: Duration,
    /// How many calls may wait for one key.
    pub max_waiting: usize,
}

/// What identifies those who take turns.
pub(crate) trait Key: Copy + Eq + Hash {}
impl<K: Copy + Eq + Hash> Key for K {}

#[derive(Debug)]
pub(crate) struct Turns<K: Key> {
    options: WaitOptions,
    /// Of the calls in progress, so no larger than those may be many.
    queues: Mutex<HashMap<K, Queue>>,
    /// How many queues there are: who only looks need not wait for the lock when there are none.
    count: AtomicUsize,
    waited: Durations,
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
pub(crate) struct Turn<'t, K: Key> {
    place: Place<'t, K>,
    _permit: OwnedSemaphorePermit,
}

/// A call in a queue.
#[derive(Debug)]
struct Place<'t, K: Key> {
    turns: &'t Turns<K>,
    key: K,
}

/// A call that waits, counted when it ends.
struct Wait<'t> {
    began: Instant,
    waited: &'t Durations,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waited.observe(self.began.elapsed());
    }
}

impl<K: Key> Turns<K> {
    pub(crate) fn new(options: WaitOptions) -> Self {
        Self {
            options,
            queues: Mutex::default(),
            count: AtomicUsize::new(0),
            waited: Durations::default(),
        }
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> u64 {
        let queues = self.queues.lock();
        queues.values().map(|queue| queue.calls as u64 - 1).sum()
    }

    /// For how long calls have waited that had to and no longer do, whether or not their turn came.
    pub(crate) fn waited(&self) -> Distribution {
        self.waited.distribution()
    }

    /// Waits for those before this call. None if too many wait already, or it took too long.
    pub(crate) async fn take(&self, key: K, deadline: &Deadline) -> Result<Option<Turn<'_, K>>, Expired> {
        let Some((place, turn)) = self.queue(key) else {
            return Ok(None);
        };
        if let Ok(_permit) = turn.clone().try_acquire_owned() {
            return Ok(Some(Turn { place, _permit }));
        }
        let _counted = Wait {
            began: Instant::now(),
            waited: &self.waited,
        };
        let waiting = tokio::time::timeout(self.options.max_wait, turn.acquire_owned());
        let permit = deadline.bound(waiting).await?.ok().and_then(Result::ok);
        Ok(permit.map(|_permit| Turn { place, _permit }))
    }

    /// The first of `keys`, by their order, that calls have a turn on or wait for.
    pub(crate) fn first_taken(&self, keys: impl Iterator<Item = K>) -> Option<K>
    where
        K: Ord,
    {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let keys: Vec<_> = keys.collect();
        let queues = self.queues.lock();
        keys.into_iter().filter(|key| queues.contains_key(key)).min()
    }

    /// None if too many calls wait already.
    fn queue(&self, key: K) -> Option<(Place<'_, K>, Arc<Semaphore>)> {
        let mut queues = self.queues.lock();
        let queue = queues.entry(key).or_insert_with(|| Queue {
            turn: Arc::new(Semaphore::new(1)),
            calls: 0,
        });
        if queue.calls > self.options.max_waiting {
            return None;
        }
        queue.calls += 1;
        let turn = queue.turn.clone();
        self.count.store(queues.len(), Ordering::Relaxed);
        Some((Place { turns: self, key }, turn))
    }
}

impl<K: Key> Turn<'_, K> {
    pub(crate) fn key(&self) -> K {
        self.place.key
    }
}

impl<K: Key> Drop for Place<'_, K> {
    fn drop(&mut self) {
        let mut queues = self.turns.queues.lock();
        if let Some(queue) = queues.get_mut(&self.key) {
            queue.calls -= 1;
            if queue.calls == 0 {
                queues.remove(&self.key);
                self.turns.count.store(queues.len(), Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn turns(max_waiting: usize) -> Turns<u64> {
        Turns::new(WaitOptions {
            max_wait: 10 * SECOND,
            max_waiting,
        })
    }

    fn in_time(seconds: u32) -> Deadline {
        Deadline::after(Instant::now(), Some(seconds * SECOND))
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_handed_on_in_the_order_of_asking() {
        let turns = turns(10);
        let patient = in_time(100);
        let first = turns.take(1, &patient).await.expect("in time");
        let (mut second, mut third) = (pin!(turns.take(1, &patient)), pin!(turns.take(1, &patient)));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        assert_eq!((turns.waiting(), turns.waited().count()), (2, 0));
        assert!(turns.take(2, &patient).await.expect("in time").is_some());
        drop(first);
        assert!((&mut third).now_or_never().is_none(), "it came later");
        let second = second.await.expect("in time").expect("its turn");
        assert_eq!(second.key(), 1);
        drop(second);
        assert!(third.await.expect("in time").is_some());
        assert_eq!((turns.waiting(), turns.waited().count()), (0, 2));
        assert_eq!(
            (turns.queues.lock().len(), turns.first_taken([1, 2].into_iter())),
            (0, None)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_is_bounded() {
        let turns = turns(1);
        let first = turns.take(1, &in_time(100)).await.expect("in time");
        assert!(first.is_some());
        let soon = in_time(1);
        let mut hasty = pin!(turns.take(1, &soon));
        assert!((&mut hasty).now_or_never().is_none());
        assert!(
            turns.take(1, &in_time(100)).await.expect("at once").is_none(),
            "one waits already"
        );
        assert_eq!(hasty.await.err(), Some(Expired));
        assert_eq!((turns.waiting(), turns.waited().count()), (0, 1));
        let began = Instant::now();
        assert!(turns.take(1, &in_time(100)).await.expect("in time").is_none());
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test]
    async fn of_several_that_are_taken_the_first_is_named() {
        let turns = turns(1);
        let patient = in_time(100);
        let _held = (turns.take(7, &patient).await, turns.take(3, &patient).await);
        assert_eq!(turns.first_taken([9, 7, 3].into_iter()), Some(3));
        assert_eq!(turns.first_taken([9, 8].into_iter()), None);
    }
}
