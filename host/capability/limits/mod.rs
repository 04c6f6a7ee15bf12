//! Rate limits: token buckets in memory, shared by all instances of a plugin. What is taken stays taken, even
//! if the call that took it fails.

mod bucket;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::{Mutex, RwLock};

use super::{Error, Namespace};
use bucket::Bucket;

/// The longest bucket name, in bytes.
pub const MAX_BUCKET_BYTES: usize = 256;
/// The longest period of a [`Rate`].
pub const MAX_PERIOD: Duration = Duration::from_secs(366 * 24 * 60 * 60);

const SHARDS: usize = 16;

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    burst: u32,
    refill: u32,
    period: Duration,
}

impl Rate {
    /// `burst` tokens in a full bucket; `refill` tokens flow in, evenly, during each `period`.
    ///
    /// # Errors
    /// If any of them is zero, or the period is longer than [`MAX_PERIOD`].
    pub fn new(burst: u32, refill: u32, period: Duration) -> Result<Self, Error> {
        if burst == 0 || refill == 0 || period.is_zero() {
            return Err(Error::invalid(
                "a rate's burst, refill and period must each be at least 1",
            ));
        }
        if period > MAX_PERIOD {
            return Err(Error::invalid("a rate's period must be at most 366 days"));
        }
        Ok(Self {
            burst,
            refill,
            period,
        })
    }
}

/// The answer to a request for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the tokens were taken. If not, none were.
    pub allowed: bool,
    /// When not allowed: how long until the same request would be, if nobody else takes any. Zero otherwise.
    pub retry_after: Duration,
}

/// The buckets of all plugins.
///
/// Each plugin has room for a fixed number of buckets, so that one cannot push out another's. When a plugin
/// uses more, those used least recently are forgotten; a forgotten bucket is full when it is used again.
pub struct Limits {
    buckets_per_shard: NonZeroUsize,
    hasher: RandomState,
    namespaces: RwLock<HashMap<Namespace, Arc<Shards>>>,
}

type Shards = [Mutex<LruCache<Box<str>, Bucket>>; SHARDS];

impl Limits {
    /// How many buckets a plugin has if the operator says nothing.
    pub const DEFAULT_MAX_BUCKETS: usize = 100_000;

    /// Room for about `max_buckets` per plugin: it is divided evenly among shards chosen by hash.
    pub fn new(max_buckets: usize) -> Self {
        let buckets_per_shard = NonZeroUsize::new(max_buckets.div_ceil(SHARDS)).unwrap_or(NonZeroUsize::MIN);
        Self {
            buckets_per_shard,
            hasher: RandomState::new(),
            namespaces: RwLock::default(),
        }
    }

    /// Takes `tokens` from the plugin's `bucket` at the time `now`, all or none. A bucket that is not known is
    /// full. One bucket may be used with several rates: its level is kept, as far as the new burst allows.
    ///
    /// # Errors
    /// If the name is longer than [`MAX_BUCKET_BYTES`], or `tokens` is 0 or more than the bucket ever holds.
    pub fn take(
        &self,
        namespace: &Namespace,
        bucket: &str,
        tokens: u32,
        rate: Rate,
        now: Instant,
    ) -> Result<Decision, Error> {
        if bucket.len() > MAX_BUCKET_BYTES {
            return Err(Error::limit_exceeded(
                "the bucket's name is too long",
                MAX_BUCKET_BYTES,
            ));
        }
        if tokens == 0 {
            return Err(Error::invalid("take at least 1 token"));
        }
        if tokens > rate.burst {
            let message = "more tokens are asked for than the bucket ever holds";
            return Err(Error::limit_exceeded(message, rate.burst as usize));
        }
        let shards = self.shards(namespace);
        let mut shard = shards[self.hasher.hash_one(bucket) as usize % SHARDS].lock();
        if let Some(known) = shard.get_mut(bucket) {
            return Ok(known.take(tokens, rate, now));
        }
        let mut new = Bucket::full(rate, now);
        let decision = new.take(tokens, rate, now);
        shard.put(bucket.into(), new);
        Ok(decision)
    }

    /// Forgets the buckets of a plugin that is gone.
    pub fn forget(&self, namespace: &Namespace) {
        self.namespaces.write().remove(namespace);
    }

    fn shards(&self, namespace: &Namespace) -> Arc<Shards> {
        if let Some(shards) = self.namespaces.read().get(namespace) {
            return shards.clone();
        }
        let new = || {
            Arc::new(std::array::from_fn(|_| {
                Mutex::new(LruCache::new(self.buckets_per_shard))
            }))
        };
        self.namespaces
            .write()
            .entry(namespace.clone())
            .or_insert_with(new)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn order() -> Namespace {
        Namespace::new("order").unwrap()
    }

    fn allowed(limits: &Limits, bucket: &str, rate: Rate, now: Instant) -> bool {
        limits.take(&order(), bucket, 1, rate, now).unwrap().allowed
    }

    #[test]
    fn rates_and_requests_are_checked() {
        assert!(Rate::new(0, 1, SECOND).is_err());
        assert!(Rate::new(1, 0, SECOND).is_err());
        assert!(Rate::new(1, 1, Duration::ZERO).is_err());
        assert!(Rate::new(1, 1, MAX_PERIOD + SECOND).is_err());
        let (limits, rate, now) = (Limits::new(10), Rate::new(3, 1, SECOND).unwrap(), Instant::now());
        assert!(limits.take(&order(), "b", 0, rate, now).is_err());
        assert_eq!(
            limits.take(&order(), "b", 4, rate, now).unwrap_err().limit(),
            Some(3)
        );
        assert_eq!(
            limits
                .take(&order(), &"b".repeat(257), 1, rate, now)
                .unwrap_err()
                .limit(),
            Some(256)
        );
    }

    #[test]
    fn buckets_and_plugins_are_separate() {
        let (limits, rate, now) = (Limits::new(10), Rate::new(1, 1, SECOND).unwrap(), Instant::now());
        assert!(allowed(&limits, "a", rate, now));
        assert!(!allowed(&limits, "a", rate, now));
        assert!(allowed(&limits, "b", rate, now));
        let other = Namespace::new("other").unwrap();
        assert!(limits.take(&other, "a", 1, rate, now).unwrap().allowed);
    }

    #[test]
    fn a_forgotten_bucket_is_full_again_and_memory_is_bounded() {
        let (limits, rate, now) = (
            Limits::new(SHARDS),
            Rate::new(1, 1, SECOND).unwrap(),
            Instant::now(),
        );
        assert!(allowed(&limits, "first", rate, now));
        for i in 0..1_000 {
            assert!(allowed(&limits, &i.to_string(), rate, now));
        }
        let kept: usize = limits
            .shards(&order())
            .iter()
            .map(|shard| shard.lock().len())
            .sum();
        assert!(kept <= SHARDS);
        assert!(allowed(&limits, "first", rate, now));
        limits.forget(&order());
        assert!(allowed(&limits, "first", rate, now));
    }
}
