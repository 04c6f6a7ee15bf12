//! The event that a call delivers.

use std::time::{SystemTime, UNIX_EPOCH};

use percent_encoding::percent_decode_str;
use prost_types::Timestamp;

use crate::ReadCall;

/// What the identity of a call that delivers an event begins with.
pub(crate) const EVENT: &str = "mortise:event/";
/// The identity of a call that a timer makes.
pub(crate) const TIMER: &str = "mortise:timer";

/// What is known of an event besides its payload, which is the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The same whenever this event is delivered, and different from that of any other.
    pub id: String,
    /// The operator's name for the plugin that published it.
    pub source: String,
    /// What kind of event it is.
    pub topic: String,
    /// What it is about. Events of one key come in order.
    pub key: String,
    /// When it was committed.
    pub time: SystemTime,
    /// How many deliveries of events led to this one, itself included. What a plugin publishes after the
    /// eighth goes to no plugin any more.
    pub hops: u32,
}

/// None where a client sends what looks like an event: it cannot have this identity.
pub(crate) fn of(call: &ReadCall) -> Option<Event> {
    let principal = call.principal()?;
    let source = principal.id.strip_prefix(EVENT)?;
    let metadata = call.metadata();
    let attribute = |name: &str| metadata.get(name).map(|value| percent_decoded(&value));
    let time = attribute("ce-time").and_then(|time| time.parse::<Timestamp>().ok());
    Some(Event {
        id: attribute("ce-id").unwrap_or_default(),
        source: source.to_owned(),
        topic: attribute("ce-type").unwrap_or_default(),
        key: attribute("ce-subject").unwrap_or_default(),
        time: time
            .and_then(|time| SystemTime::try_from(time).ok())
            .unwrap_or(UNIX_EPOCH),
        hops: attribute("ce-hops")
            .and_then(|hops| hops.parse().ok())
            .unwrap_or_default(),
    })
}

/// The text that was percent-encoded for its place in metadata.
fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn what_is_escaped_is_read_and_the_rest_left_alone() {
        for (encoded, text) in [
            ("plain", "plain"),
            ("a%20b%22", "a b\""),
            ("%C3%A4%0A", "ä\n"),
            ("100%25", "100%"),
            ("%", "%"),
            ("%zz%4", "%zz%4"),
            ("%+1", "%+1"),
        ] {
            assert_eq!(percent_decoded(encoded), text, "{encoded}");
        }
    }
}
