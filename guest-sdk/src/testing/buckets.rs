//! Token buckets under test.

use std::collections::HashMap;

use crate::bindings::mortise::plugin::limits::{Decision, Rate};

const NANOS_PER_MS: u128 = 1_000_000;

/// The buckets by name. What they hold is counted in tokens times the period, so that nothing is rounded.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    buckets: HashMap<String, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    level: u128,
    filled_at: u64,
}

impl Buckets {
    /// Takes tokens; an error says what is wrong with the rate.
    pub(super) fn take(
        &mut self,
        bucket: &str,
        tokens: u32,
        rate: Rate,
        now: u64,
    ) -> Result<Decision, &'static str> {
        if rate.burst == 0 || rate.refill == 0 || rate.period_ms == 0 {
            return Err("a rate's burst, refill and period must be at least 1");
        }
        if tokens > rate.burst {
            return Err("a bucket never holds more tokens than its burst");
        }
        let period = u128::from(rate.period_ms) * NANOS_PER_MS;
        let full = u128::from(rate.burst) * period;
        let bucket = self.buckets.entry(bucket.to_owned()).or_insert(Bucket {
            level: full,
            filled_at: now,
        });
        let elapsed = u128::from(now.saturating_sub(bucket.filled_at));
        bucket.level = (bucket.level + elapsed * u128::from(rate.refill)).min(full);
        bucket.filled_at = now;

        let wanted = u128::from(tokens) * period;
        if bucket.level >= wanted {
            bucket.level -= wanted;
            return Ok(Decision {
                allowed: true,
                retry_after_ms: 0,
            });
        }
        let nanos = (wanted - bucket.level).div_ceil(u128::from(rate.refill));
        let retry_after_ms = u64::try_from(nanos.div_ceil(NANOS_PER_MS)).unwrap_or(u64::MAX);
        Ok(Decision {
            allowed: false,
            retry_after_ms,
        })
    }
}
