//! The table itself: a row for every failure.

use std::borrow::Cow;

use tonic::Code;

use super::{Blame, Failure};
use crate::auth;
use crate::capability::upstream::Refusal;

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The stable name, in the client's `ErrorInfo.reason`, the log and the page `docs/errors/REASON.md`.
    pub reason: &'static str,
    /// What the client gets.
    pub code: Code,
    /// Whose fault.
    pub blame: Blame,
    /// What the client reads.
    pub message: Cow<'static, str>,
}

/// The reasons of all rows, for the pages and their test.
pub const REASONS: &[&str] = &[
    "MALFORMED_TIMEOUT",
    "MALFORMED_BINARY_METADATA",
    "TOO_MUCH_METADATA",
    "METADATA_TOO_LARGE",
    "UNKNOWN_METHOD",
    "UNKNOWN_SERVICE",
    "TOKEN_MISSING",
    "TOKEN_INVALID",
    "TOKEN_EXPIRED",
    "TOKEN_NOT_YET_VALID",
    "SCOPE_MISSING",
    "REQUEST_TOO_LARGE",
    "REQUEST_TIMEOUT",
    "REQUEST_MEMORY_FULL",
    "RESPONSE_MEMORY_FULL",
    "NOT_UNARY",
    "MALFORMED_FRAMING",
    "MALFORMED_MESSAGE",
    "UNSUPPORTED_ENCODING",
    "DEADLINE_EXCEEDED",
    "CANCELLED",
    "OVERLOADED",
    "SHUTTING_DOWN",
    "RATE_LIMITED",
    "PLUGIN_FAILED",
    "PLUGIN_OUT_OF_MEMORY",
    "ANSWER_TOO_LARGE",
    "MALFORMED_IDEMPOTENCY_KEY",
    "IDEMPOTENCY_KEY_REUSED",
    "IDEMPOTENCY_KEY_IN_USE",
    "CONFLICT",
    "STORE_UNAVAILABLE",
    "COMMIT_UNKNOWN",
    "UPSTREAM_NOT_ALLOWED",
    "UPSTREAM_INVALID_REQUEST",
    "UPSTREAM_LIMIT",
    "UPSTREAM_OVERLOADED",
    "UPSTREAM_CIRCUIT_OPEN",
    "UPSTREAM_UNREACHABLE",
    "UPSTREAM_TIMEOUT",
    "UPSTREAM_MALFORMED",
    "UPSTREAM_DIVERGED",
    "INTERNAL",
];

impl Failure {
    /// What the client hears, and who is to blame.
    pub fn row(&self) -> Row {
        use Blame::{Client, Host, Plugin, Store, Upstream};
        let row = |reason, code, blame, message: Cow<'static, str>| Row {
            reason,
            code,
            blame,
            message,
        };
        match self {
            Self::MalformedTimeout => row(
                "MALFORMED_TIMEOUT",
                Code::InvalidArgument,
                Client,
                "Malformed grpc-timeout: expected 1 to 8 digits and one of H, M, S, m, u, n".into(),
            ),
            Self::MalformedBinaryMetadata { key } => row(
                "MALFORMED_BINARY_METADATA",
                Code::Internal,
                Client,
                format!("Metadata {key} is not base64").into(),
            ),
            Self::TooMuchMetadata { limit } => row(
                "TOO_MUCH_METADATA",
                Code::ResourceExhausted,
                Client,
                format!("More than {limit} metadata entries").into(),
            ),
            Self::MetadataTooLarge { size, limit } => row(
                "METADATA_TOO_LARGE",
                Code::ResourceExhausted,
                Client,
                format!("Metadata of {size} bytes is over the limit of {limit}").into(),
            ),
            Self::UnknownMethod { path } => row(
                "UNKNOWN_METHOD",
                Code::Unimplemented,
                Client,
                format!("Method {path} is not served here").into(),
            ),
            Self::UnknownService => row(
                "UNKNOWN_SERVICE",
                Code::NotFound,
                Client,
                "This host does not know the service".into(),
            ),
            Self::Auth(refusal) => {
                let (reason, code) = match refusal {
                    auth::Refusal::TokenMissing => ("TOKEN_MISSING", Code::Unauthenticated),
                    auth::Refusal::TokenInvalid { .. } => ("TOKEN_INVALID", Code::Unauthenticated),
                    auth::Refusal::TokenExpired => ("TOKEN_EXPIRED", Code::Unauthenticated),
                    auth::Refusal::TokenNotYetValid => ("TOKEN_NOT_YET_VALID", Code::Unauthenticated),
                    auth::Refusal::ScopeMissing { .. } => ("SCOPE_MISSING", Code::PermissionDenied),
                };
                row(reason, code, Client, refusal.to_string().into())
            }
            Self::RequestTooLarge { size, limit } => row(
                "REQUEST_TOO_LARGE",
                Code::ResourceExhausted,
                Client,
                match size {
                    Some(size) => format!("Request message of {size} bytes is over the limit of {limit}"),
                    None => format!("Request message is over the limit of {limit} bytes when decompressed"),
                }
                .into(),
            ),
            Self::RequestTimeout { limit } => row(
                "REQUEST_TIMEOUT",
                Code::DeadlineExceeded,
                Client,
                format!(
                    "The request did not arrive in full within {} ms",
                    limit.as_millis()
                )
                .into(),
            ),
            Self::RequestMemoryFull => row(
                "REQUEST_MEMORY_FULL",
                Code::Unavailable,
                Host,
                "The server has more requests under way than it can hold; try again".into(),
            ),
            Self::ResponseMemoryFull => row(
                "RESPONSE_MEMORY_FULL",
                Code::Unavailable,
                Host,
                "The server has more answers under way than it can hold; try again".into(),
            ),
            Self::NotUnary { empty } => row(
                "NOT_UNARY",
                Code::Unimplemented,
                Client,
                if *empty {
                    "A unary call carries one request message; this one has none".into()
                } else {
                    "A unary call carries one request message; this one has more".into()
                },
            ),
            Self::MalformedFraming { what } => row(
                "MALFORMED_FRAMING",
                Code::Internal,
                Client,
                format!("Malformed gRPC framing: {what}").into(),
            ),
            Self::MalformedMessage => row(
                "MALFORMED_MESSAGE",
                Code::Internal,
                Client,
                "The request message does not parse".into(),
            ),
            Self::UnsupportedEncoding { encoding, supported } => row(
                "UNSUPPORTED_ENCODING",
                Code::Unimplemented,
                Client,
                format!("Compression {encoding} is not supported; supported: {supported}").into(),
            ),
            Self::DeadlineExceeded => row(
                "DEADLINE_EXCEEDED",
                Code::DeadlineExceeded,
                Client,
                "Deadline exceeded".into(),
            ),
            Self::Cancelled => row(
                "CANCELLED",
                Code::Cancelled,
                Client,
                "The caller went away".into(),
            ),
            Self::Overloaded { .. } => row(
                "OVERLOADED",
                Code::Unavailable,
                Host,
                "The server has more calls than it can take; try again".into(),
            ),
            Self::ShuttingDown => row(
                "SHUTTING_DOWN",
                Code::Unavailable,
                Host,
                "The server is shutting down".into(),
            ),
            Self::RateLimited { .. } => row(
                "RATE_LIMITED",
                Code::ResourceExhausted,
                Client,
                "Calls come faster than this server allows; try again later".into(),
            ),
            Self::PluginFailed { .. } => row(
                "PLUGIN_FAILED",
                Code::Unknown,
                Plugin,
                "The service failed to handle this call".into(),
            ),
            Self::PluginOutOfMemory { .. } => row(
                "PLUGIN_OUT_OF_MEMORY",
                Code::ResourceExhausted,
                Plugin,
                "The service ran out of memory on this call".into(),
            ),
            Self::AnswerTooLarge { size, limit } => row(
                "ANSWER_TOO_LARGE",
                Code::ResourceExhausted,
                Plugin,
                format!("Response message of {size} bytes is over the limit of {limit}").into(),
            ),
            Self::MalformedIdempotencyKey { what } => row(
                "MALFORMED_IDEMPOTENCY_KEY",
                Code::InvalidArgument,
                Client,
                format!("Malformed idempotency-key: {what}").into(),
            ),
            Self::IdempotencyKeyReused => row(
                "IDEMPOTENCY_KEY_REUSED",
                Code::FailedPrecondition,
                Client,
                "This idempotency-key was used with another request".into(),
            ),
            Self::IdempotencyKeyInUse { .. } => row(
                "IDEMPOTENCY_KEY_IN_USE",
                Code::Aborted,
                Client,
                "A call with this idempotency-key is still running; try again".into(),
            ),
            Self::Conflict { .. } => row(
                "CONFLICT",
                Code::Aborted,
                Store,
                "The call kept meeting conflicting changes; try again".into(),
            ),
            Self::StoreUnavailable { .. } => row(
                "STORE_UNAVAILABLE",
                Code::Unavailable,
                Store,
                "The store is unavailable; nothing was changed".into(),
            ),
            Self::CommitUnknown { .. } => row(
                "COMMIT_UNKNOWN",
                Code::Unknown,
                Store,
                "It is not known whether the change was kept".into(),
            ),
            Self::Upstream(refusal) => {
                let (reason, code, blame) = match refusal {
                    Refusal::NotGranted { .. } | Refusal::MethodNotAllowed { .. } => {
                        ("UPSTREAM_NOT_ALLOWED", Code::PermissionDenied, Plugin)
                    }
                    Refusal::Invalid { .. } => ("UPSTREAM_INVALID_REQUEST", Code::InvalidArgument, Plugin),
                    Refusal::RequestTooLarge { .. }
                    | Refusal::TooManyCalls { .. }
                    | Refusal::TooManyBytes { .. } => ("UPSTREAM_LIMIT", Code::ResourceExhausted, Plugin),
                    Refusal::ReplyTooLarge { .. } => ("UPSTREAM_LIMIT", Code::ResourceExhausted, Upstream),
                    Refusal::Overloaded { .. } => ("UPSTREAM_OVERLOADED", Code::Unavailable, Upstream),
                    Refusal::CircuitOpen { .. } => ("UPSTREAM_CIRCUIT_OPEN", Code::Unavailable, Upstream),
                    Refusal::Unreachable { .. } => ("UPSTREAM_UNREACHABLE", Code::Unavailable, Upstream),
                    Refusal::TimedOut { .. } => ("UPSTREAM_TIMEOUT", Code::DeadlineExceeded, Upstream),
                    Refusal::Malformed { .. } => ("UPSTREAM_MALFORMED", Code::Internal, Upstream),
                    Refusal::Diverged => ("UPSTREAM_DIVERGED", Code::Aborted, Store),
                };
                row(reason, code, blame, refusal.to_string().into())
            }
            Self::Internal { .. } => row(
                "INTERNAL",
                Code::Internal,
                Host,
                "The server failed to handle this call".into(),
            ),
        }
    }
}
