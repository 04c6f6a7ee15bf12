//! The one table that turns a failure of the host's own into a gRPC status.
//!
//! A handler's own statuses pass through untouched; everything else that can end a call is a [`Failure`],
//! and [`Failure::row`] says what the client hears, who is to blame and under which stable reason it is
//! documented (`docs/errors/REASON.md`). Internal causes go to the log and never to the client.

mod guest;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use prost::Message as _;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt};

use crate::auth;
use crate::capability::upstream::Refusal;

pub use guest::GuestStatus;
pub use table::{REASONS, Row};

/// The `domain` of the `google.rpc.ErrorInfo` that every status made by the host carries.
pub const ERROR_DOMAIN: &str = "mortise";

/// When a call that met a conflict in every attempt should come again.
const AFTER_CONFLICTS: Duration = Duration::from_millis(100);

/// Whose fault a failure is. Metrics, logs and canary judgements go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The caller sent something wrong or went away.
    Client,
    /// The plugin misbehaved.
    Plugin,
    /// The host could not serve the call.
    Host,
    /// The store could not read or commit.
    Store,
    /// A service outside that the plugin called.
    Upstream,
}

impl Blame {
    /// The name used in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Plugin => "plugin",
            Self::Host => "host",
            Self::Store => "store",
            Self::Upstream => "upstream",
        }
    }
}

/// Everything but a handler's own status that can end a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// `grpc-timeout` does not follow the grammar.
    MalformedTimeout,
    /// A `-bin` metadata value is not base64.
    MalformedBinaryMetadata {
        /// The key, as sent.
        key: String,
    },
    /// More metadata entries than `max_metadata_entries`.
    TooMuchMetadata {
        /// The limit.
        limit: usize,
    },
    /// A header list over `max_metadata_bytes`.
    MetadataTooLarge {
        /// As HTTP/2 counts it, in bytes.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// No plugin serves this path.
    UnknownMethod {
        /// `:path`, bounded.
        path: String,
    },
    /// The request message is over `max_request_bytes`.
    RequestTooLarge {
        /// The length the client announced; none if the message is compressed.
        size: Option<usize>,
        /// The limit.
        limit: usize,
    },
    /// The request did not arrive in full within `request_timeout_ms`.
    RequestTimeout {
        /// The limit.
        limit: Duration,
    },
    /// Requests hold `max_request_memory_bytes` already.
    RequestMemoryFull,
    /// Clients leave answers of `max_response_memory_bytes` with the host.
    ResponseMemoryFull,
    /// The request has no message, or more than one.
    NotUnary {
        /// Whether there was none at all.
        empty: bool,
    },
    /// The gRPC framing of the request is broken.
    MalformedFraming {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The message of a call to one of the host's own services does not parse.
    MalformedMessage,
    /// `grpc-encoding` names a compression the host does not have.
    UnsupportedEncoding {
        /// As sent, bounded.
        encoding: String,
        /// What the host has, joined by commas.
        supported: String,
    },
    /// The deadline passed.
    DeadlineExceeded,
    /// The caller went away before its request was complete.
    Cancelled,
    /// More calls wait than `max_queued_calls`, or so many that this one would not be served in time.
    Overloaded {
        /// When it may be better.
        retry_after: Duration,
    },
    /// The caller's bucket, or that of all callers, is empty.
    RateLimited {
        /// When it holds a token again.
        retry_after: Duration,
    },
    /// The plugin trapped, panicked or could not be started.
    PluginFailed {
        /// For the operator's log.
        cause: String,
    },
    /// The plugin was stopped by its memory limit.
    PluginOutOfMemory {
        /// The limit, in bytes.
        limit: usize,
        /// For the operator's log.
        cause: String,
    },
    /// The answer is over `max_response_bytes`.
    AnswerTooLarge {
        /// The answer's size, in bytes.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// `idempotency-key` is no key.
    MalformedIdempotencyKey {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The caller's key belongs to another request.
    IdempotencyKeyReused,
    /// A call with the same key is still running.
    IdempotencyKeyInUse {
        /// When it may have ended.
        retry_after: Duration,
    },
    /// The transaction met a conflict in every attempt it was given.
    Conflict {
        /// How many attempts were made.
        attempts: u32,
    },
    /// The store refused the commit, and nothing of it was kept.
    StoreUnavailable {
        /// For the operator's log.
        cause: String,
    },
    /// The commit may or may not have become durable.
    CommitUnknown {
        /// For the operator's log.
        cause: String,
    },
    /// Health is asked for a service that nobody serves.
    UnknownService,
    /// The host drains, and does not wait for its own services.
    ShuttingDown,
    /// The caller is not known, or may not call this.
    Auth(auth::Refusal),
    /// A call of the plugin's to an upstream came to nothing. It is the plugin that hears of it; only
    /// [`Refusal::Diverged`] ends the call by itself.
    Upstream(Refusal),
    /// A fault of the host itself.
    Internal {
        /// For the operator's log.
        cause: String,
    },
}

impl Failure {
    /// What only the operator may read.
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::PluginFailed { cause }
            | Self::PluginOutOfMemory { cause, .. }
            | Self::StoreUnavailable { cause }
            | Self::CommitUnknown { cause }
            | Self::Internal { cause } => Some(cause),
            Self::Auth(auth::Refusal::TokenInvalid { cause }) => Some(cause),
            _ => None,
        }
    }

    /// The status without its reason.
    pub fn to_bare_status(&self) -> tonic::Status {
        let row = self.row();
        tonic::Status::new(row.code, row.message)
    }

    /// The status as the client gets it, with its reason as `google.rpc.ErrorInfo`.
    pub fn to_status(&self) -> tonic::Status {
        let row = self.row();
        tonic::Status::with_error_details(row.code, row.message, self.details(row.reason))
    }

    /// The same, for a plugin that asked for what the host could not do.
    pub fn to_guest(&self) -> GuestStatus {
        let row = self.row();
        let details = self.details(row.reason);
        let status = tonic::Status::with_error_details(row.code, row.message, details);
        let encoded = tonic_types::Status::decode(status.details()).unwrap_or_default();
        GuestStatus {
            code: row.code,
            message: status.message().to_owned(),
            details: encoded.details,
        }
    }

    fn details(&self, reason: &str) -> ErrorDetails {
        let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, [] as [(String, String); 0]);
        if let Some(delay) = self.retry_after() {
            details.set_retry_info(Some(delay));
        }
        details
    }

    /// When the same call may be served, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after }
            | Self::RateLimited { retry_after }
            | Self::IdempotencyKeyInUse { retry_after } => Some(*retry_after),
            Self::Conflict { .. } => Some(AFTER_CONFLICTS),
            Self::Upstream(refusal) => refusal.retry_after(),
            _ => None,
        }
    }
}

/// The code as the gRPC specification writes it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl From<crate::deadline::Expired> for Failure {
    fn from(_: crate::deadline::Expired) -> Self {
        Self::DeadlineExceeded
    }
}

impl From<auth::Refusal> for Failure {
    fn from(refusal: auth::Refusal) -> Self {
        Self::Auth(refusal)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Upstream(refusal)
    }
}
