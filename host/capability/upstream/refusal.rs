use std::time::Duration;

use crate::observe::printable;

/// How much of a name that a guest sent is repeated.
const MAX_SHOWN_BYTES: usize = 128;

/// Why the host made no call, or has no answer. `status.rs` gives each its code and reason.
///
/// The text is for the plugin and names nothing but what plugin and operator chose; causes are for the
/// operator's log, where they are written when they arise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The plugin may not reach this target, which may not even exist.
    #[error("upstream {target} is not granted to this plugin")]
    NotGranted {
        /// As asked for, bounded.
        target: String,
    },
    /// The operator does not allow the method.
    #[error("upstream {target} does not allow the method {method}")]
    MethodNotAllowed {
        /// The target.
        target: String,
        /// As asked for, bounded.
        method: String,
    },
    /// The request makes no sense.
    #[error("the upstream request is not valid: {what}")]
    Invalid {
        /// What is wrong with it.
        what: String,
    },
    /// The request message is over `max_request_bytes` of the target.
    #[error("a request of {size} bytes is over the limit of {limit} of upstream {target}")]
    RequestTooLarge {
        /// The target.
        target: String,
        /// In bytes.
        size: usize,
        /// In bytes.
        limit: usize,
    },
    /// The answer is over `max_response_bytes` of the target.
    #[error("the answer of upstream {target} is over the limit of {limit} bytes")]
    ReplyTooLarge {
        /// The target.
        target: String,
        /// In bytes.
        limit: usize,
    },
    /// More calls than `max_upstream_calls`.
    #[error("a call may make at most {limit} upstream calls")]
    TooManyCalls {
        /// How many are allowed.
        limit: u32,
    },
    /// Answers of more than `max_upstream_bytes` in all.
    #[error("a call may receive at most {limit} bytes from upstreams")]
    TooManyBytes {
        /// In bytes.
        limit: u64,
    },
    /// As many calls wait for the target as may.
    #[error("upstream {target} has more calls than it may take; try again")]
    Overloaded {
        /// The target.
        target: String,
    },
    /// The target has failed too often and is left alone for a while.
    #[error("upstream {target} keeps failing and is not called for now; try again")]
    CircuitOpen {
        /// The target.
        target: String,
        /// Until it is called again.
        retry_after: Duration,
    },
    /// No connection, or one that broke before the answer was complete.
    #[error("upstream {target} cannot be reached; try again")]
    Unreachable {
        /// The target.
        target: String,
    },
    /// No answer within the time that the request, the target's `timeout_ms` or the call itself allows.
    #[error("upstream {target} did not answer in time")]
    TimedOut {
        /// The target.
        target: String,
    },
    /// The answer breaks the protocol.
    #[error("upstream {target} answered with something that is not gRPC")]
    Malformed {
        /// The target.
        target: String,
    },
    /// A later attempt of the call asks for something else than an earlier one.
    #[error("the call was run again after a conflict and made other upstream calls than before; try again")]
    Diverged,
}

impl Refusal {
    pub(super) fn not_granted(target: &str) -> Self {
        Self::NotGranted {
            target: printable(target, MAX_SHOWN_BYTES),
        }
    }

    pub(super) fn method_not_allowed(target: &str, method: &str) -> Self {
        Self::MethodNotAllowed {
            target: target.to_owned(),
            method: printable(method, MAX_SHOWN_BYTES),
        }
    }

    /// When asking again makes sense, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}
