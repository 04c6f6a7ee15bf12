//! How many calls run at once, and how many may wait for their turn.
//!
//! One permit is one sandbox slot of the engine. A call waits for it at most until its deadline, and only
//! while fewer than `max_queued_calls` wait. No caller that holds a permit waits for another one, so
//! waiting cannot deadlock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::deadline::Deadline;
use crate::status::Failure;

/// Bounds on calls: the host's over all plugins, or those to one upstream target.
#[derive(Debug)]
pub struct Admission {
    running: Arc<Semaphore>,
    max_running: usize,
    waiting: AtomicUsize,
    max_waiting: usize,
}

/// Held while a call runs.
#[derive(Debug)]
pub struct Permit {
    _running: OwnedSemaphorePermit,
    _plugin: Option<OwnedSemaphorePermit>,
}

impl Admission {
    /// `max_running` calls run, `max_waiting` more wait.
    pub fn new(max_running: usize, max_waiting: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(max_running)),
            max_running,
            waiting: AtomicUsize::new(0),
            max_waiting,
        }
    }

    /// How many wait for their turn.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.max_running - self.running.available_permits()
    }

    /// How many may run.
    pub fn max_running(&self) -> usize {
        self.max_running
    }

    /// Waits for the plugin's own permit, if its calls are bounded, then for one of the host's.
    pub async fn admit(
        &self,
        plugin: Option<&Arc<Semaphore>>,
        deadline: &Deadline,
    ) -> Result<Permit, Failure> {
        // The plugin's first: a call that waits for its own plugin must not hold a slot others could use.
        let plugin = match plugin {
            Some(plugin) => Some(self.acquire(plugin, deadline).await?),
            None => None,
        };
        Ok(Permit {
            _running: self.acquire(&self.running, deadline).await?,
            _plugin: plugin,
        })
    }

    async fn acquire(
        &self,
        semaphore: &Arc<Semaphore>,
        deadline: &Deadline,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(permit) = semaphore.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(self)?;
        let permit = deadline.bound(semaphore.clone().acquire_owned()).await?;
        permit.map_err(|_| Failure::Overloaded)
    }
}

/// A place in the queue, given back however the wait ends.
struct Place<'a>(&'a Admission);

impl<'a> Place<'a> {
    fn take(admission: &'a Admission) -> Result<Self, Failure> {
        if admission.waiting.fetch_add(1, Ordering::Relaxed) >= admission.max_waiting {
            admission.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Failure::Overloaded);
        }
        Ok(Self(admission))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::Poll;
    use std::time::Duration;
    use tokio::time::Instant;

    fn within(budget: Duration) -> Deadline {
        Deadline::after(Instant::now(), Some(budget))
    }

    /// Polls once.
    async fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn a_full_host_queues_then_refuses() {
        let admission = Admission::new(1, 1);
        let running = admission
            .admit(None, &within(Duration::from_secs(1)))
            .await
            .expect("free");
        let deadline = within(Duration::from_secs(60));
        let mut waiting = Box::pin(admission.admit(None, &deadline));
        assert!(is_pending(&mut waiting).await);
        let refused = admission.admit(None, &within(Duration::from_secs(60))).await;
        assert_eq!(refused.err(), Some(Failure::Overloaded));
        drop(running);
        let running = waiting.await.expect("its turn");
        let late = admission.admit(None, &within(Duration::from_millis(5))).await;
        assert_eq!(
            late.err(),
            Some(Failure::DeadlineExceeded),
            "and its place in the queue is free again"
        );
        drop(running);
        assert!(
            admission
                .admit(None, &within(Duration::from_secs(1)))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_plugin_at_its_own_bound_holds_nothing_of_the_host() {
        let admission = Admission::new(1, 10);
        let plugin = Arc::new(Semaphore::new(0));
        let deadline = within(Duration::from_secs(60));
        let mut blocked = Box::pin(admission.admit(Some(&plugin), &deadline));
        assert!(is_pending(&mut blocked).await);
        assert!(
            admission
                .admit(None, &within(Duration::from_secs(1)))
                .await
                .is_ok()
        );
    }
}
