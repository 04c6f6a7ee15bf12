//! Whether a connection is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The calls of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    began: Instant,
    calls: AtomicUsize,
    /// When the last call ended, in milliseconds since `began`.
    ended: AtomicU64,
    /// Answers that were not taken yet, by the period in which they were given: this one and the one before it take
    /// turns.
    untaken: [AtomicUsize; 2],
    period: AtomicUsize,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            calls: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            untaken: Default::default(),
            period: AtomicUsize::new(0),
        })
    }

    /// A call has begun, and ends when this is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InUse {
        self.calls.fetch_add(1, Ordering::Relaxed);
        InUse(self.clone())
    }

    /// Completes when an answer was not taken for so long, or up to twice as long.
    pub(super) async fn untaken_for(&self, time: Duration) {
        for period in 1.. {
            tokio::time::sleep(time).await;
            // Those of the period before the one that ends now.
            if self.untaken[period % 2].load(Ordering::Relaxed) > 0 {
                return;
            }
            self.period.store(period, Ordering::Relaxed);
        }
    }

    /// Completes when there was no call for so long; never if none is given.
    pub(super) async fn idle_for(&self, time: Option<Duration>) {
        let Some(time) = time else {
            return std::future::pending().await;
        };
        loop {
            let now = Instant::now();
            let since = if self.calls.load(Ordering::Acquire) > 0 {
                now
            } else {
                self.began + Duration::from_millis(self.ended.load(Ordering::Relaxed))
            };
            if now.duration_since(since) >= time {
                return;
            }
            tokio::time::sleep_until(since + time).await;
        }
    }
}

/// A call in progress, to the end of its answer.
#[derive(Debug)]
pub(super) struct InUse(Arc<Activity>);

impl InUse {
    /// The answer has been given, and is taken when this is dropped.
    pub(super) fn untaken(&self) -> Untaken {
        let activity = self.0.clone();
        let turn = activity.period.load(Ordering::Relaxed) % 2;
        activity.untaken[turn].fetch_add(1, Ordering::Relaxed);
        Untaken { activity, turn }
    }
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Untaken {
    activity: Arc<Activity>,
    turn: usize,
}

impl Drop for Untaken {
    fn drop(&mut self) {
        self.activity.untaken[self.turn].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let ended = self.0.began.elapsed().as_millis() as u64;
        self.0.ended.store(ended, Ordering::Relaxed);
        self.0.calls.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_is_noticed_after_its_time_and_within_twice_of_it() {
        let second = Duration::from_secs(1);
        for given_at in [0, 3, 9, 10, 11, 25] {
            let activity = Activity::new();
            let noticed = {
                let activity = activity.clone();
                tokio::spawn(async move {
                    activity.untaken_for(10 * second).await;
                    activity.began.elapsed()
                })
            };
            tokio::time::sleep(given_at * second + Duration::from_millis(1)).await;
            // Answers that are taken at once do not matter.
            drop(activity.begin().untaken());
            let _untaken = activity.begin().untaken();
            let noticed = noticed.await.expect("it ends") - given_at * second;
            assert!((10..=20).contains(&noticed.as_secs()), "{given_at}: {noticed:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_its_last_call_ended_long_enough_ago() {
        let activity = Activity::new();
        let second = Duration::from_secs(1);
        let idle = {
            let activity = activity.clone();
            tokio::spawn(async move {
                activity.idle_for(Some(10 * second)).await;
                activity.began.elapsed()
            })
        };
        tokio::time::sleep(9 * second).await;
        let call = activity.begin();
        tokio::time::sleep(30 * second).await;
        drop(call);
        assert_eq!(idle.await.expect("it ends").as_secs(), 49);
    }
}
