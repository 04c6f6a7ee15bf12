//! Token buckets under test.

use std::collections::HashMap;

use super::refusal::{invalid, over_limit};
use crate::bindings::mortise::plugin::limits::{Decision, Rate};
use crate::bindings::mortise::plugin::types::Error;

const MAX_BUCKET_BYTES: usize = 256;
const MAX_PERIOD_MS: u64 = 366 * 24 * 60 * 60 * 1000;
const NANOS_PER_MS: u128 = 1_000_000;

/// The buckets by name.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    buckets: HashMap<String, Bucket>,
}

impl Buckets {
    /// Takes tokens at `now`, in nanoseconds since the Unix epoch.
    pub(super) fn take(
        &mut self,
        bucket: &str,
        tokens: u32,
        rate: Rate,
        now: u64,
    ) -> Result<Decision, Error> {
        if rate.burst == 0 || rate.refill == 0 || rate.period_ms == 0 {
            return Err(invalid(
                "a rate's burst, refill and period must each be at least 1",
            ));
        }
        if rate.period_ms > MAX_PERIOD_MS {
            return Err(invalid("a rate's period must be at most 366 days"));
        }
        if bucket.len() > MAX_BUCKET_BYTES {
            return Err(over_limit("the bucket's name is too long", MAX_BUCKET_BYTES));
        }
        if tokens == 0 {
            return Err(invalid("take at least 1 token"));
        }
        if tokens > rate.burst {
            let message = "more tokens are asked for than the bucket ever holds";
            return Err(over_limit(message, rate.burst as usize));
        }
        let full = Bucket {
            level: capacity(rate),
            rate,
            filled_at: now,
        };
        Ok(self
            .buckets
            .entry(bucket.to_owned())
            .or_insert(full)
            .take(tokens, rate, now))
    }
}

#[derive(Debug)]
struct Bucket {
    /// Tokens times the rate's period in nanoseconds, so that nothing is rounded.
    level: u128,
    rate: Rate,
    filled_at: u64,
}

impl Bucket {
    fn take(&mut self, tokens: u32, rate: Rate, now: u64) -> Decision {
        let elapsed = u128::from(now.saturating_sub(self.filled_at));
        self.level = (self.level + elapsed * u128::from(self.rate.refill)).min(capacity(self.rate));
        self.filled_at = self.filled_at.max(now);
        // A new rate keeps the tokens that are there.
        self.level = (self.level * period(rate) / period(self.rate)).min(capacity(rate));
        self.rate = rate;

        let wanted = u128::from(tokens) * period(rate);
        if self.level >= wanted {
            self.level -= wanted;
            return Decision {
                allowed: true,
                retry_after_ms: 0,
            };
        }
        let nanos = (wanted - self.level).div_ceil(u128::from(rate.refill));
        let retry_after_ms = u64::try_from(nanos.div_ceil(NANOS_PER_MS)).unwrap_or(u64::MAX);
        Decision {
            allowed: false,
            retry_after_ms,
        }
    }
}

fn period(rate: Rate) -> u128 {
    u128::from(rate.period_ms) * NANOS_PER_MS
}

fn capacity(rate: Rate) -> u128 {
    u128::from(rate.burst) * period(rate)
}
