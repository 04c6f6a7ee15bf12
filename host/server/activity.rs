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
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            calls: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
        })
    }

    /// A call has begun, and ends when this is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InUse {
        self.calls.fetch_add(1, Ordering::Relaxed);
        InUse(self.clone())
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

/// A call in progress.
#[derive(Debug)]
pub(super) struct InUse(Arc<Activity>);

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
