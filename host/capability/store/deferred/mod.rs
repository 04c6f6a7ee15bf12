//! Calls that the host is to make later: timers, and events that an operator wants tried again; and the calls
//! that it has given up, the dead letters.
//!
//! They are rows of the host's own ([`rows`]) that change in the same transaction as a plugin's state, under
//! the same rules: what a transaction reads of them is validated at its commit. So a timer is scheduled if
//! and only if the call that schedules it commits; and what settles a timer or an event ([`Errand`]) commits
//! with the writes of the call that was made for it, so that its effect is there exactly once, whatever is
//! repeated.

mod dead_letters;
mod host_rows;
mod levels;
mod queue;
mod rows;
mod transaction;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::outbox::Position;
use crate::capability::Namespace;

pub use dead_letters::DeadLetter;
pub(super) use host_rows::HostRows;
pub use levels::Amount;
pub(super) use levels::{Levels, recount_pending};
pub use queue::{DeferredCalls, Failed, Page};
pub(super) use rows::{ACKNOWLEDGEMENTS, acknowledged, nanos};

/// Names a deferred call or a dead letter: 32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(Arc<str>);

impl CallId {
    const BYTES: usize = 32;

    /// A new one, unlike any other.
    pub(crate) fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()).into())
    }

    /// None if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == Self::BYTES && text.bytes().all(digit)).then(|| Self(text.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A call that waits for its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredCall {
    /// Which one it is.
    pub id: CallId,
    /// Whom it is made to.
    pub plugin: Namespace,
    /// `/package.Service/Method`.
    pub method: String,
    /// The encoded request message.
    pub request: Bytes,
    /// When it is to be made, or made again.
    pub due: SystemTime,
    /// How often it has failed.
    pub failures: u32,
    /// Why it failed last; empty if it has not.
    pub last_error: String,
    /// How many deliveries of events led to it.
    pub hops: u32,
    /// The event that it delivers; none for a timer.
    pub event: Option<EventHeader>,
}

/// What is known of an event besides its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHeader {
    /// As [`Event::id`](super::Event::id).
    pub id: String,
    /// The plugin that published it.
    pub source: String,
    /// Its topic.
    pub topic: String,
    /// Its key.
    pub key: String,
    /// When its commit was accepted.
    pub time: SystemTime,
    /// The operator's name for the subscription.
    pub subscription: String,
}

/// What a call is made for, and what is settled by the commit of that call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// A deferred call of the plugin that is called.
    Deferred(CallId),
    /// An event, for one of the outbox's sinks.
    Event {
        /// The sink's name.
        sink: Arc<str>,
        /// The event.
        position: Position,
    },
}

/// What one call may schedule, and a plugin have pending.
#[derive(Debug, Clone)]
pub struct DeferredBounds {
    /// Timers that one call may schedule. Default 100.
    pub max_per_call: usize,
    /// The longest request, in bytes. Default 64 KiB.
    pub max_request_bytes: usize,
    /// Calls that one plugin may have pending. Default 100,000.
    pub max_pending: u64,
    /// Their bytes. Default 256 MiB.
    pub max_pending_bytes: u64,
    /// Dead letters that are kept, of all plugins together; the oldest make way. Default 10,000.
    pub max_dead_letters: u64,
    /// Their bytes. Default 64 MiB.
    pub max_dead_letter_bytes: u64,
}

impl Default for DeferredBounds {
    fn default() -> Self {
        Self {
            max_per_call: 100,
            max_request_bytes: 64 << 10,
            max_pending: 100_000,
            max_pending_bytes: 256 << 20,
            max_dead_letters: 10_000,
            max_dead_letter_bytes: 64 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CallId;

    #[test]
    fn ids_are_checked() {
        let id = CallId::random();
        assert_eq!(CallId::parse(id.as_str()), Some(id));
        for bad in [
            "",
            "0",
            &"g".repeat(32),
            &"A".repeat(32),
            &"0".repeat(33),
            &"ä".repeat(16),
        ] {
            assert_eq!(CallId::parse(bad), None, "{bad}");
        }
    }
}
