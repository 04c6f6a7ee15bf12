//! W3C Trace Context: which trace a call belongs to (<https://www.w3.org/TR/trace-context/>).
//!
//! The host takes part in the traces of its clients and begins none: whether a trace is recorded is decided
//! where it begins, and a decision made here would silence, or flood, everybody behind. A call that comes
//! without a trace, or with a `traceparent` that breaks the standard, has none. Its id is in the log all the
//! same.

use std::fmt;

use http::{HeaderMap, HeaderName};

/// The header that names the trace and its sender's span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with what tracing systems add.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The flags that the standard knows: sampled, and that the trace id is random. Others are not passed on.
const KNOWN_FLAGS: u8 = 0b11;

/// The most entries of a `tracestate`.
const MAX_STATE_ENTRIES: usize = 32;

/// The place of one call in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    /// The client's span.
    parent: u64,
    /// The host's span for this call, which is the parent of what the call does.
    span: u64,
    flags: u8,
    state: Option<String>,
}

impl TraceContext {
    /// Reads the headers of a call and gives the call a span of its own.
    ///
    /// None without a `traceparent`, and with one that is malformed or repeated; then `tracestate` does not count
    /// either. A malformed `tracestate` is left out by itself.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (value, None) = (values.next()?, values.next()) else {
            return None;
        };
        let (trace, parent, flags) = parse_parent(value.as_bytes())?;
        Some(Self {
            trace,
            parent,
            span: rand::random_range(1..=u64::MAX),
            flags: flags & KNOWN_FLAGS,
            state: state(headers),
        })
    }

    /// The `traceparent` of what is done for the call, in the plugin and behind it.
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }

    /// The `tracestate`, as it came.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The trace, as 32 hexadecimal digits.
    pub fn trace_id(&self) -> impl fmt::Display {
        Hex::<32>(self.trace)
    }

    /// The host's span for the call, as 16 hexadecimal digits.
    pub fn span_id(&self) -> impl fmt::Display {
        Hex::<16>(self.span.into())
    }

    /// The client's span, as 16 hexadecimal digits.
    pub fn parent_span_id(&self) -> impl fmt::Display {
        Hex::<16>(self.parent.into())
    }
}

/// So many digits.
struct Hex<const DIGITS: usize>(u128);

impl<const DIGITS: usize> fmt::Display for Hex<DIGITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$x}", self.0)
    }
}

/// Trace, parent and flags (section 3.2). Later versions may be longer, but begin as version 0 does.
fn parse_parent(value: &[u8]) -> Option<(u128, u64, u8)> {
    let (known, rest) = value.split_at_checked(55)?;
    let fields: Vec<_> = known.split(|byte| *byte == b'-').collect();
    let [version, trace, parent, flags] = fields[..] else {
        return None;
    };
    let version = hex(version, 2)?;
    let fits = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest[0] == b'-',
    };
    let (trace, parent, flags) = (hex(trace, 32)?, hex(parent, 16)?, hex(flags, 2)?);
    let valid = fits && trace != 0 && parent != 0;
    valid.then_some((trace, u64::try_from(parent).ok()?, u8::try_from(flags).ok()?))
}

/// Exactly `digits` digits, in lower case.
fn hex(text: &[u8], digits: usize) -> Option<u128> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// All `tracestate` headers as one list, if that is well-formed and not empty (section 3.3). How long it is, the
/// bound on a call's headers decides.
fn state(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(TRACESTATE).iter().peekable();
    values.peek()?;
    let mut state = String::new();
    for value in values {
        if !state.is_empty() {
            state.push(',');
        }
        state.push_str(value.to_str().ok()?);
    }
    let mut keys = Vec::new();
    for entry in state.split(',') {
        let entry = entry.trim_matches([' ', '\t']);
        // Empty entries are allowed, and count for nothing.
        if entry.is_empty() {
            continue;
        }
        let (key, value) = entry.split_once('=')?;
        if !is_state_key(key) || !is_state_value(value) || keys.contains(&key) {
            return None;
        }
        keys.push(key);
    }
    ((1..=MAX_STATE_ENTRIES).contains(&keys.len())).then_some(state)
}

/// `key`, or `tenant@system` (section 3.3.1.3.1).
fn is_state_key(key: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase();
    let digit = |byte: u8| byte.is_ascii_digit();
    let further = |byte: u8| letter(byte) || digit(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/');
    let well_formed = |part: &str, first: &dyn Fn(u8) -> bool, most: usize| {
        let bytes = part.as_bytes();
        let begins = bytes.first().is_some_and(|byte| first(*byte));
        begins && bytes.len() <= most && bytes.iter().all(|byte| further(*byte))
    };
    match key.split_once('@') {
        None => well_formed(key, &letter, 256),
        Some((tenant, system)) => {
            well_formed(tenant, &|byte| letter(byte) || digit(byte), 241) && well_formed(system, &letter, 14)
        }
    }
}

/// 1 to 256 printable characters without `,` and `=`, which do not end in a space (section 3.3.1.3.2).
fn is_state_value(value: &str) -> bool {
    let printable = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b',' && byte != b'=';
    !value.is_empty() && value.len() <= 256 && value.bytes().all(printable) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    fn context(headers: &[(&'static str, &str)]) -> Option<TraceContext> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        TraceContext::of(&map)
    }

    #[test]
    fn a_call_gets_a_span_in_its_clients_trace() {
        let context = context(&[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))]).expect("valid");
        assert_eq!(context.trace_id().to_string(), TRACE);
        assert_eq!(context.parent_span_id().to_string(), PARENT);
        let span = context.span_id().to_string();
        assert!(span.len() == 16 && span != PARENT, "{span}");
        assert_eq!(context.traceparent(), format!("00-{TRACE}-{span}-01"));
        assert_eq!(context.tracestate(), None);
    }

    #[test]
    fn unknown_flags_are_dropped() {
        let flags = |flags: &str| {
            let context = context(&[("traceparent", &format!("00-{TRACE}-{PARENT}-{flags}"))]);
            context.expect("valid").traceparent()[53..].to_owned()
        };
        assert_eq!(
            ["00", "01", "02", "ff", "f0"].map(flags),
            ["00", "01", "02", "03", "00"]
        );
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        for (value, valid) in [
            (format!("01-{TRACE}-{PARENT}-01"), true),
            (format!("cc-{TRACE}-{PARENT}-01-what-the-future-brings"), true),
            (format!("cc-{TRACE}-{PARENT}-01.what-the-future-brings"), false),
            (format!("ff-{TRACE}-{PARENT}-01"), false),
            (format!("00-{TRACE}-{PARENT}-01-more"), false),
        ] {
            assert_eq!(context(&[("traceparent", &value)]).is_some(), valid, "{value}");
        }
    }

    #[test]
    fn malformed_parents_are_no_trace() {
        let zeros = "0".repeat(32);
        for value in [
            String::new(),
            "00".to_owned(),
            TRACE.to_owned(),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-1"),
            format!("00-{TRACE}-{PARENT}-001"),
            format!("0-{TRACE}-{PARENT}-01"),
            format!("00-{zeros}-{PARENT}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{PARENT}-0x"),
            format!("00_{TRACE}_{PARENT}_01"),
            format!(" 00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-01 "),
            format!("00-{}-{PARENT}x-01", &TRACE[1..]),
        ] {
            assert_eq!(parse_parent(value.as_bytes()), None, "{value:?}");
        }
        let parent = format!("00-{TRACE}-{PARENT}-01");
        assert!(context(&[("traceparent", &parent), ("traceparent", &parent)]).is_none());
        assert!(context(&[("tracestate", "a=b")]).is_none());
    }

    #[test]
    fn state_is_passed_on_whole_or_not_at_all() {
        let parent = format!("00-{TRACE}-{PARENT}-01");
        let state = |values: &[&str]| {
            let parent = [("traceparent", parent.as_str())];
            let values = values.iter().map(|value| ("tracestate", *value));
            let headers: Vec<_> = parent.into_iter().chain(values).collect();
            let context = context(&headers).expect("the trace does not depend on it");
            context.tracestate().map(str::to_owned)
        };
        assert_eq!(state(&["a=b"]).as_deref(), Some("a=b"));
        assert_eq!(state(&["a=b", "c=d"]).as_deref(), Some("a=b,c=d"));
        assert_eq!(state(&["a=b , ,c=d e"]).as_deref(), Some("a=b , ,c=d e"));
        assert_eq!(state(&["1t@sys=x*/-_"]).as_deref(), Some("1t@sys=x*/-_"));
        let many = |entries: usize| (0..entries).map(|n| format!("k{n}=v,")).collect::<String>();
        assert!(state(&[&many(32)]).is_some());
        let long = format!("a={}", "x".repeat(257));
        for malformed in [
            "",
            ",",
            "a",
            "a=",
            "=b",
            "A=b",
            "1=b",
            "a=b,a=c",
            "a=b=c",
            "t@1=x",
            "@s=x",
            "a@b@c=x",
            &many(33),
            &long,
        ] {
            assert_eq!(state(&[malformed]), None, "{malformed}");
        }
    }
}
