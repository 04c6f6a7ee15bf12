use std::time::{Duration, Instant};

use super::{Decision, Rate};

/// A token bucket.
///
/// The level is counted in token-nanoseconds, a token being as many as the period has nanoseconds: then
/// `refill` of them flow in per nanosecond and nothing is ever rounded. Bursts below 2^32 and periods below
/// 2^55 ns keep every product below 2^128.
#[derive(Debug)]
pub(super) struct Bucket {
    level: u128,
    rate: Rate,
    updated: Instant,
}

impl Rate {
    fn token(&self) -> u128 {
        self.period.as_nanos()
    }

    fn capacity(&self) -> u128 {
        u128::from(self.burst) * self.token()
    }
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self {
            level: rate.capacity(),
            rate,
            updated: now,
        }
    }

    pub(super) fn take(&mut self, tokens: u32, rate: Rate, now: Instant) -> Decision {
        self.refill(now);
        self.change_rate(rate);
        let cost = u128::from(tokens) * rate.token();
        if cost <= self.level {
            self.level -= cost;
            return Decision {
                allowed: true,
                retry_after: Duration::ZERO,
            };
        }
        let nanos = (cost - self.level).div_ceil(u128::from(rate.refill));
        Decision {
            allowed: false,
            retry_after: from_nanos(nanos),
        }
    }

    /// Callers read the clock before they come here, so `now` may lie a little before the last update.
    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.updated).as_nanos();
        let inflow = elapsed.saturating_mul(u128::from(self.rate.refill));
        self.level = self.level.saturating_add(inflow).min(self.rate.capacity());
        self.updated = self.updated.max(now);
    }

    fn change_rate(&mut self, rate: Rate) {
        if rate == self.rate {
            return;
        }
        let whole = self.level / self.rate.token();
        let part = self.level % self.rate.token() * rate.token() / self.rate.token();
        self.level = (whole * rate.token() + part).min(rate.capacity());
        self.rate = rate;
    }
}

fn from_nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(burst: u32, refill: u32, period: Duration) -> Rate {
        Rate::new(burst, refill, period).unwrap()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let (rate, start) = (rate(3, 3, SECOND), Instant::now());
        let mut bucket = Bucket::full(rate, start);
        assert!((0..3).all(|_| bucket.take(1, rate, start).allowed));
        let refused = bucket.take(1, rate, start);
        assert_eq!(
            refused,
            Decision {
                allowed: false,
                retry_after: Duration::from_nanos(333_333_334)
            }
        );
        assert!(
            !bucket
                .take(1, rate, start + refused.retry_after - Duration::from_nanos(1))
                .allowed
        );
        assert!(bucket.take(1, rate, start + refused.retry_after).allowed);
    }

    #[test]
    fn nothing_is_gained_or_lost_over_many_periods() {
        let (rate, start) = (rate(1, 7, SECOND), Instant::now());
        let mut bucket = Bucket::full(rate, start);
        let step = Duration::from_millis(1);
        let taken = (0..100_000)
            .filter(|i| bucket.take(1, rate, start + step * *i).allowed)
            .count();
        // One full bucket, then 7 tokens a second for 100 s; each step of 1 ms may come up to 1 ms late.
        assert!((694..=701).contains(&taken), "{taken}");
    }

    #[test]
    fn an_idle_bucket_does_not_overflow() {
        let (rate, start) = (rate(2, u32::MAX, Duration::from_millis(1)), Instant::now());
        let mut bucket = Bucket::full(rate, start);
        let later = start + Duration::from_secs(100 * 365 * 24 * 60 * 60);
        assert!(bucket.take(2, rate, later).allowed);
        assert!(!bucket.take(2, rate, later).allowed);
    }

    #[test]
    fn time_that_runs_backwards_gives_nothing() {
        let (rate, start) = (rate(1, 1, SECOND), Instant::now() + SECOND * 10);
        let mut bucket = Bucket::full(rate, start);
        assert!(bucket.take(1, rate, start).allowed);
        assert!(!bucket.take(1, rate, start - SECOND * 5).allowed);
        assert!(!bucket.take(1, rate, start + SECOND / 2).allowed);
        assert!(bucket.take(1, rate, start + SECOND).allowed);
    }

    #[test]
    fn a_new_rate_keeps_the_level() {
        let start = Instant::now();
        let (slow, fast) = (rate(10, 1, SECOND * 60), rate(4, 1, SECOND));
        let mut bucket = Bucket::full(slow, start);
        assert!(bucket.take(8, slow, start).allowed);
        assert!(bucket.take(2, fast, start).allowed, "2 of 10 are left");
        assert!(!bucket.take(1, fast, start).allowed);
        assert!(bucket.take(4, fast, start + SECOND * 100).allowed);
    }
}
