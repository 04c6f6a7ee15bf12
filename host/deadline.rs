//! The one clock of a call.
//!
//! A [`Deadline`] is made once, when the request headers arrive. The timer around the call, the epoch
//! interrupt inside the guest, every wait of the host and what the guest reads all come from it.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

/// The header that carries a call's timeout.
pub const HEADER: &str = "grpc-timeout";

/// What the operator allows: a `default_deadline_ms` and a `max_deadline_ms`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadlinePolicy {
    /// For calls that bring no `grpc-timeout`.
    pub default: Option<Duration>,
    /// No call gets more than this.
    pub maximum: Option<Duration>,
}

/// When a call expires, if ever.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    arrived: Instant,
    expires: Option<Instant>,
    wall_clock: Option<SystemTime>,
}

/// A `grpc-timeout` that breaks the grammar of the gRPC HTTP/2 protocol: 1 to 8 digits and one of `HMSmun`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed grpc-timeout: expected 1 to 8 digits followed by one of H, M, S, m, u, n")]
pub struct MalformedTimeout;

impl Deadline {
    /// Reads `grpc-timeout` from the headers of a call that arrived at `arrived`.
    ///
    /// Timeouts too large for the clock count as none: some clients pass absolute times by mistake, and
    /// 55 years is as good as forever.
    pub fn from_headers(
        headers: &HeaderMap,
        arrived: Instant,
        policy: &DeadlinePolicy,
    ) -> Result<Self, MalformedTimeout> {
        let mut values = headers.get_all(HEADER).iter();
        let asked = match (values.next(), values.next()) {
            (None, _) => policy.default,
            (Some(value), None) => Some(parse_timeout(value.as_bytes())?),
            (Some(_), Some(_)) => return Err(MalformedTimeout),
        };
        let budget = match (asked, policy.maximum) {
            (Some(asked), Some(maximum)) => Some(asked.min(maximum)),
            (asked, maximum) => asked.or(maximum),
        };
        Ok(Self::after(arrived, budget))
    }

    /// A deadline `budget` after `arrived`; `None` never expires.
    pub fn after(arrived: Instant, budget: Option<Duration>) -> Self {
        let expires = budget.and_then(|budget| arrived.checked_add(budget));
        let wall_clock = expires.and_then(|expires| {
            SystemTime::now().checked_add(expires.saturating_duration_since(Instant::now()))
        });
        Self {
            arrived,
            expires,
            wall_clock,
        }
    }

    /// Since the headers arrived.
    pub fn elapsed(&self) -> Duration {
        self.arrived.elapsed()
    }

    /// Time left; zero once expired, `None` if the call never expires.
    pub fn remaining(&self) -> Option<Duration> {
        Some(self.expires?.saturating_duration_since(Instant::now()))
    }

    /// Whether the time is up.
    pub fn expired(&self) -> bool {
        self.expires.is_some_and(|expires| Instant::now() >= expires)
    }

    /// The moment of expiry on the wall clock, as nanoseconds since the Unix epoch. Expiries past the year
    /// 2554, which do not fit, read as none.
    pub fn unix_nanos(&self) -> Option<u64> {
        let since_epoch = self.wall_clock?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        u64::try_from(since_epoch.as_nanos()).ok()
    }

    /// This deadline, or one `timeout` from now if that is sooner.
    pub fn within(&self, timeout: Option<Duration>) -> Self {
        let sooner = Self::after(Instant::now(), timeout);
        match (self.expires, sooner.expires) {
            (Some(expires), Some(other)) if expires <= other => *self,
            (_, None) => *self,
            _ => sooner,
        }
    }

    /// What remains, as a `grpc-timeout` to send on: at the finest unit that eight digits hold, rounded down,
    /// so that whoever it is sent to gives up no later than this call. None if it never expires.
    pub fn to_header(&self) -> Option<HeaderValue> {
        const MOST: u128 = 99_999_999;
        let nanos = self.remaining()?.as_nanos();
        let units = [
            ("n", 1),
            ("u", 1_000),
            ("m", 1_000_000),
            ("S", 1_000_000_000),
            ("M", 60_000_000_000),
        ];
        let text = units
            .into_iter()
            .map(|(unit, size)| (nanos / size, unit))
            .find(|(amount, _)| *amount <= MOST)
            .map_or_else(
                || format!("{}H", (nanos / 3_600_000_000_000).min(MOST)),
                |(amount, unit)| format!("{amount}{unit}"),
            );
        HeaderValue::from_str(&text).ok()
    }

    /// Runs `work` until it ends or the call expires.
    pub async fn bound<F: Future>(&self, work: F) -> Result<F::Output, Expired> {
        match self.expires {
            None => Ok(work.await),
            Some(expires) => tokio::time::timeout_at(expires, work).await.map_err(|_| Expired),
        }
    }
}

/// The deadline passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired;

fn parse_timeout(value: &[u8]) -> Result<Duration, MalformedTimeout> {
    let (unit, digits) = value.split_last().ok_or(MalformedTimeout)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(MalformedTimeout);
    }
    let amount = digits
        .iter()
        .fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    // Eight digits of hours are 3.6e11 seconds: none of these overflow.
    Ok(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return Err(MalformedTimeout),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn deadline(timeout: &str, policy: DeadlinePolicy) -> Result<Deadline, MalformedTimeout> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, timeout.parse().expect("a header value"));
        Deadline::from_headers(&headers, Instant::now(), &policy)
    }

    #[test]
    fn every_unit_is_read() {
        for (text, expected) in [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("5S", Duration::from_secs(5)),
            ("250m", Duration::from_millis(250)),
            ("1000u", Duration::from_millis(1)),
            ("99999999n", Duration::from_nanos(99_999_999)),
            ("00000007S", Duration::from_secs(7)),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_timeouts_are_refused() {
        for text in [
            "",
            "S",
            "5",
            "5s",
            "-5S",
            "+5S",
            "5 S",
            "123456789S",
            "5SS",
            "0x5S",
            "1.5S",
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), Err(MalformedTimeout), "{text:?}");
        }
    }

    #[test]
    fn a_repeated_timeout_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, "5S".parse().expect("value"));
        headers.append(HEADER, "6S".parse().expect("value"));
        assert!(Deadline::from_headers(&headers, Instant::now(), &DeadlinePolicy::default()).is_err());
    }

    #[test]
    fn the_operator_bounds_the_client() {
        let within = |deadline: Deadline, budget: Duration| {
            assert_eq!(deadline.expires, deadline.arrived.checked_add(budget));
        };
        let policy = DeadlinePolicy {
            default: Some(3 * SECOND),
            maximum: Some(10 * SECOND),
        };
        let without = Deadline::from_headers(&HeaderMap::new(), Instant::now(), &policy).expect("none");
        within(without, 3 * SECOND);
        let long = deadline("1H", policy).expect("an hour");
        within(long, 10 * SECOND);
        let short = deadline("1S", policy).expect("a second");
        within(short, SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn huge_timeouts_saturate() {
        let eleven_millennia = deadline("99999999H", DeadlinePolicy::default()).expect("valid");
        assert!(!eleven_millennia.expired());
        assert_eq!(eleven_millennia.unix_nanos(), None);
        let fifty_five_years = deadline("1735689600S", DeadlinePolicy::default());
        assert!(
            fifty_five_years.is_err(),
            "ten digits: clients must use a larger unit"
        );
        let in_minutes = deadline("28928160M", DeadlinePolicy::default()).expect("valid");
        assert!(in_minutes.unix_nanos().is_some());
        assert!(in_minutes.bound(std::future::ready(7)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn expiry_ends_the_work_and_no_moment_sooner() {
        let deadline = deadline("10S", DeadlinePolicy::default()).expect("valid");
        let began = Instant::now();
        assert_eq!(deadline.bound(std::future::pending::<()>()).await, Err(Expired));
        assert!(began.elapsed() >= 10 * SECOND && began.elapsed() < 10 * SECOND + Duration::from_millis(10));
        assert!(deadline.expired());
        assert_eq!(deadline.remaining(), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_starts_when_the_headers_arrive() {
        let deadline = deadline("10S", DeadlinePolicy::default()).expect("valid");
        tokio::time::advance(4 * SECOND).await;
        assert_eq!(deadline.remaining(), Some(6 * SECOND));
        assert!(deadline.bound(tokio::time::sleep(5 * SECOND)).await.is_ok());
        assert!(deadline.bound(tokio::time::sleep(5 * SECOND)).await.is_err());
        assert_eq!(deadline.elapsed().as_secs(), 10);
        // What has expired never runs to an end that takes time.
        assert!(deadline.bound(tokio::time::sleep(SECOND)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_a_call_gets_no_more_than_the_call() {
        let deadline = deadline("10S", DeadlinePolicy::default()).expect("valid");
        assert_eq!(deadline.within(None).expires, deadline.expires);
        assert_eq!(deadline.within(Some(11 * SECOND)).expires, deadline.expires);
        assert_eq!(deadline.within(Some(Duration::MAX)).expires, deadline.expires);
        tokio::time::advance(3 * SECOND).await;
        assert_eq!(deadline.within(Some(2 * SECOND)).remaining(), Some(2 * SECOND));
        let endless = Deadline::after(Instant::now(), None);
        assert_eq!(endless.within(Some(SECOND)).remaining(), Some(SECOND));
        assert_eq!(endless.within(None).remaining(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_remains_is_sent_on_rounded_down_in_eight_digits() {
        let header = |budget: Duration| {
            let header = Deadline::after(Instant::now(), Some(budget)).to_header();
            header.map(|value| value.to_str().expect("text").to_owned())
        };
        for (budget, expected) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_millis(100), "100000u"),
            (Duration::from_nanos(100_000_999), "100000u"),
            (Duration::from_secs(99), "99000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(5_999_999_999), "99999999M"),
        ] {
            let sent = header(budget).expect("it expires");
            assert_eq!(sent, expected, "{budget:?}");
            let read = parse_timeout(sent.as_bytes()).expect("well-formed");
            assert!(read <= budget, "{budget:?}: {sent}");
        }
        assert_eq!(Deadline::after(Instant::now(), None).to_header(), None);
    }
}
