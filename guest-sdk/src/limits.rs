//! Rate limits: token buckets that the host keeps for all instances of a plugin.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::bindings::mortise::plugin::limits as wit;
use crate::details::RetryInfo;
use crate::{Status, host};

/// How fast a bucket fills and how much it holds.
///
/// As text, in an operator's configuration: `TOKENS/PERIOD`, where the period is a number and a unit of
/// `ms`, `s`, `m` or `h`, the number being 1 if left out. `100/1m` and `100/m` are 100 tokens a minute in a
/// bucket that holds 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that a full bucket holds: what may pass at once after a quiet time. At least 1.
    pub burst: u32,
    /// Tokens that flow in during `period`. At least 1.
    pub refill: u32,
    /// Counted in whole milliseconds, at least one.
    pub period: Duration,
}

impl Rate {
    /// A bucket of `burst` tokens into which `refill` tokens flow during `period`.
    pub const fn new(burst: u32, refill: u32, period: Duration) -> Rate {
        Rate {
            burst,
            refill,
            period,
        }
    }

    /// `tokens` each second, and as many at once.
    pub const fn per_second(tokens: u32) -> Rate {
        Rate::new(tokens, tokens, Duration::from_secs(1))
    }
}

/// Why a text is no [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateError;

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate is written TOKENS/PERIOD, such as `10/1s`, `100/1m` or `5/500ms`, without zeros")
    }
}

impl std::error::Error for RateError {}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rate, RateError> {
        let (tokens, period) = text.split_once('/').ok_or(RateError)?;
        let tokens: u32 = tokens.trim().parse().map_err(|_| RateError)?;
        let period = period.trim();
        let unit_at = period.find(|c: char| !c.is_ascii_digit()).ok_or(RateError)?;
        let (count, unit) = period.split_at(unit_at);
        let count: u64 = if count.is_empty() {
            1
        } else {
            count.parse().map_err(|_| RateError)?
        };
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(RateError),
        };
        let period_ms = count
            .checked_mul(unit_ms)
            .filter(|period| *period > 0)
            .ok_or(RateError)?;
        if tokens == 0 {
            return Err(RateError);
        }
        Ok(Rate::new(tokens, tokens, Duration::from_millis(period_ms)))
    }
}

/// As it is read, in the largest unit that fits; a burst that differs from the refill is not shown.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = self.period.as_millis();
        let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let (size, unit) = units
            .into_iter()
            .find(|(size, _)| period.is_multiple_of(*size))
            .unwrap_or((1, "ms"));
        write!(f, "{}/{}{unit}", self.refill, period / size)
    }
}

/// What the bucket said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The tokens were there and are taken.
    Allowed,
    /// There were too few, and none was taken.
    Refused {
        /// How long until they would be there.
        retry_after: Duration,
    },
}

pub(crate) fn take(bucket: &str, tokens: u32, rate: Rate) -> Result<Decision, Status> {
    let rate = wit::Rate {
        burst: rate.burst,
        refill: rate.refill,
        period_ms: u64::try_from(rate.period.as_millis()).unwrap_or(u64::MAX),
    };
    let decision = host::limits::take(bucket, tokens, rate)?;
    if decision.allowed {
        return Ok(Decision::Allowed);
    }
    Ok(Decision::Refused {
        retry_after: Duration::from_millis(decision.retry_after_ms),
    })
}

pub(crate) fn limit(bucket: &str, rate: Rate) -> Result<(), Status> {
    match take(bucket, 1, rate)? {
        Decision::Allowed => Ok(()),
        Decision::Refused { retry_after } => {
            let seconds = retry_after.as_millis().div_ceil(1000).max(1);
            let message = format!("Rate limit exceeded; retry after {seconds}s");
            Err(Status::resource_exhausted(message).with_detail(RetryInfo::after(retry_after)))
        }
    }
}
