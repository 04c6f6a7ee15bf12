//! `grpc-timeout`: what is malformed is refused, never taken for a call without a deadline.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::{Input, Target};
use crate::deadline::{Deadline, DeadlinePolicy, HEADER};

pub(super) const TARGET: Target = Target::new("timeout", run, seeds);

/// Bits of the first byte.
const HAS_DEFAULT: u8 = 1;
const HAS_MAXIMUM: u8 = 2;
const TWICE: u8 = 4;

const DEFAULT: Duration = Duration::from_secs(3);
const MAXIMUM: Duration = Duration::from_secs(10);

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let Ok(value) = HeaderValue::from_bytes(input.rest()) else {
        return;
    };
    let policy = DeadlinePolicy {
        default: (flags & HAS_DEFAULT != 0).then_some(DEFAULT),
        maximum: (flags & HAS_MAXIMUM != 0).then_some(MAXIMUM),
    };
    let mut headers = HeaderMap::new();
    headers.append(HEADER, value.clone());
    if flags & TWICE != 0 {
        headers.append(HEADER, value.clone());
    }
    let asked = (flags & TWICE == 0)
        .then(|| by_grammar(value.as_bytes()))
        .flatten();
    let arrived = Instant::now();
    let read = Deadline::from_headers(&headers, arrived, &policy);
    let (Some(asked), Ok(deadline)) = (asked, &read) else {
        assert!(asked.is_none() && read.is_err(), "{value:?}: {asked:?}, {read:?}");
        return;
    };
    let budget = policy.maximum.map_or(asked, |maximum| asked.min(maximum));
    let remaining = deadline
        .remaining()
        .expect("a call with a timeout has a deadline");
    assert!(
        remaining <= budget && budget <= remaining + arrived.elapsed(),
        "{value:?}"
    );

    let sent = deadline.to_header().expect("it expires");
    let again = by_grammar(sent.as_bytes()).expect("what is sent on is well-formed");
    assert!(again <= budget, "{value:?} is sent on as {sent:?}");
}

/// As the gRPC documents have it, read in another way than the host's.
fn by_grammar(value: &[u8]) -> Option<Duration> {
    let text = str::from_utf8(value).ok()?;
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if !(1..=8).contains(&digits.len()) || digits.contains(|character: char| !character.is_ascii_digit()) {
        return None;
    }
    let amount: u32 = digits.parse().ok()?;
    let one = match unit {
        'H' => Duration::from_secs(3600),
        'M' => Duration::from_secs(60),
        'S' => Duration::from_secs(1),
        'm' => Duration::from_millis(1),
        'u' => Duration::from_micros(1),
        'n' => Duration::from_nanos(1),
        _ => return None,
    };
    one.checked_mul(amount)
}

fn seeds() -> Vec<Vec<u8>> {
    let values = [
        "5S",
        "99999999H",
        "0n",
        "00000007M",
        "250m",
        "1000u",
        "123456789S",
        "-1S",
        "5",
    ];
    let mut seeds = Vec::new();
    for flags in [0, HAS_DEFAULT, HAS_DEFAULT | HAS_MAXIMUM, TWICE] {
        seeds.extend(values.map(|value| [&[flags], value.as_bytes()].concat()));
    }
    seeds
}
