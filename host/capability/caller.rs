//! Calls that the host makes itself, to methods of plugins: for timers, and to deliver events.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Namespace;
use super::store::{Errand, EventHeader};

/// Makes calls that no client asked for. They go the way of any call, with a transaction of their own, a
/// deadline, admission and retries on conflict, except that they come from no listener.
pub trait Caller: Send + Sync + 'static {
    /// Makes one call. Dropping the future cancels it, unless its commit was accepted already.
    ///
    /// Who implements it has the transaction [settle](super::store::Transaction::settle) the errand, and
    /// makes no call for one that is settled: that is no error.
    fn call(&self, call: HostCall) -> Made<'_>;
}

/// The outcome of [`Caller::call`].
pub type Made<'a> = Pin<Box<dyn Future<Output = Result<(), NotMade>> + Send + 'a>>;

/// A call that the host makes itself.
#[derive(Debug, Clone)]
pub struct HostCall {
    /// Whom it is made to.
    pub plugin: Namespace,
    /// `/package.Service/Method`.
    pub method: Arc<str>,
    /// The encoded request message.
    pub request: Bytes,
    /// The event that it delivers; none for a timer.
    pub event: Option<Arc<EventHeader>>,
    /// How many deliveries of events led to it, this one included.
    pub hops: u32,
    /// What it settles.
    pub errand: Errand,
    /// How long it may take, where the operator set no deadline for the method.
    pub timeout: Duration,
}

/// Why a call came to nothing. The text is for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotMade {
    /// The host could not make it just now, whatever the plugin would have said. It is tried until it can.
    #[error("{0}")]
    NotNow(String),
    /// It failed, and is tried again a bounded number of times.
    #[error("{0}")]
    Failed(String),
}

/// The pauses between tries: doubled with each failure, and anywhere between half and all of that, so that
/// what failed together is not tried together.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// After the first failure.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Backoff {
    /// The pause after so many failures in a row.
    pub fn pause(&self, failures: u32) -> Duration {
        let doubled = self.min.saturating_mul(1 << failures.saturating_sub(1).min(30));
        doubled.min(self.max).mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_bound_and_differ() {
        let second = Duration::from_secs(1);
        let backoff = Backoff {
            min: second,
            max: 10 * second,
        };
        for (failures, longest) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (60, 10), (u32::MAX, 10)] {
            for _ in 0..100 {
                let pause = backoff.pause(failures);
                assert!(
                    pause >= longest * second / 2 && pause <= longest * second,
                    "{pause:?}"
                );
            }
        }
        let pauses: std::collections::BTreeSet<_> = (0..100).map(|_| backoff.pause(3)).collect();
        assert!(pauses.len() > 1);
    }
}
