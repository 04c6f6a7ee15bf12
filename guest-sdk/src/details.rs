//! The standard error details of `google.rpc`, for [`Status::with_detail`](crate::Status::with_detail).
//!
//! Field numbers and meanings are those of `google/rpc/error_details.proto`.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::{Message, Name};

macro_rules! in_google_rpc {
    ($($name:ident)*) => {
        $(
            impl Name for $name {
                const NAME: &'static str = stringify!($name);
                const PACKAGE: &'static str = "google.rpc";
            }
        )*
    };
}

in_google_rpc! {
    BadRequest ErrorInfo RetryInfo PreconditionFailure ResourceInfo QuotaFailure Help LocalizedMessage
    RequestInfo DebugInfo
}

/// What is wrong with the request, field by field.
#[derive(Clone, PartialEq, Message)]
pub struct BadRequest {
    /// The violations.
    #[prost(message, repeated, tag = "1")]
    pub field_violations: Vec<FieldViolation>,
}

impl BadRequest {
    /// Adds a violation of the field at `field`, a path such as `items[0].quantity`.
    pub fn violation(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.field_violations.push(FieldViolation {
            field: field.into(),
            description: description.into(),
            ..FieldViolation::default()
        });
    }
}

/// One field of a request that is wrong.
#[derive(Clone, PartialEq, Message)]
pub struct FieldViolation {
    /// Path of the field, such as `items[0].quantity`.
    #[prost(string, tag = "1")]
    pub field: String,
    /// Why the value is not valid.
    #[prost(string, tag = "2")]
    pub description: String,
    /// The kind of violation as a constant in UPPER_SNAKE_CASE, of at most 63 characters.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// The description in the user's language.
    #[prost(message, optional, tag = "4")]
    pub localized_message: Option<LocalizedMessage>,
}

/// The cause of an error in a form that programs can act on.
#[derive(Clone, PartialEq, Message)]
pub struct ErrorInfo {
    /// A constant in UPPER_SNAKE_CASE, of at most 63 characters, unique within `domain`.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Who defines the reason: usually the service's name, such as `orders.example.com`.
    #[prost(string, tag = "2")]
    pub domain: String,
    /// Further facts, such as the limit that was hit.
    #[prost(btree_map = "string, string", tag = "3")]
    pub metadata: BTreeMap<String, String>,
}

/// When a retry may succeed.
#[derive(Clone, PartialEq, Message)]
pub struct RetryInfo {
    /// The least time to wait before trying again.
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<prost_types::Duration>,
}

impl RetryInfo {
    /// Asks the client to wait for `delay`.
    pub fn after(delay: Duration) -> RetryInfo {
        let seconds = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
        // Less than 10^9, so it fits.
        let nanos = delay.subsec_nanos().cast_signed();
        RetryInfo {
            retry_delay: Some(prost_types::Duration { seconds, nanos }),
        }
    }
}

/// What about the state of the service forbids the call.
#[derive(Clone, PartialEq, Message)]
pub struct PreconditionFailure {
    /// The violations.
    #[prost(message, repeated, tag = "1")]
    pub violations: Vec<PreconditionViolation>,
}

/// One precondition that does not hold.
#[derive(Clone, PartialEq, Message)]
pub struct PreconditionViolation {
    /// The kind of precondition, a constant of the service.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// What the precondition is about.
    #[prost(string, tag = "2")]
    pub subject: String,
    /// How it failed, and how to meet it.
    #[prost(string, tag = "3")]
    pub description: String,
}

/// The resource that the call was about.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceInfo {
    /// The kind of resource.
    #[prost(string, tag = "1")]
    pub resource_type: String,
    /// Its name.
    #[prost(string, tag = "2")]
    pub resource_name: String,
    /// Its owner, if that may be told.
    #[prost(string, tag = "3")]
    pub owner: String,
    /// What happened when it was accessed.
    #[prost(string, tag = "4")]
    pub description: String,
}

/// Which quota is used up.
#[derive(Clone, PartialEq, Message)]
pub struct QuotaFailure {
    /// The violations.
    #[prost(message, repeated, tag = "1")]
    pub violations: Vec<QuotaViolation>,
}

/// One quota that is used up.
#[derive(Clone, PartialEq, Message)]
pub struct QuotaViolation {
    /// Whose quota: `clientip:<address>` or `project:<id>`.
    #[prost(string, tag = "1")]
    pub subject: String,
    /// Which quota, and what to do about it.
    #[prost(string, tag = "2")]
    pub description: String,
}

/// Where to read on.
#[derive(Clone, PartialEq, Message)]
pub struct Help {
    /// The links.
    #[prost(message, repeated, tag = "1")]
    pub links: Vec<Link>,
}

/// A link of [`Help`].
#[derive(Clone, PartialEq, Message)]
pub struct Link {
    /// What the link offers.
    #[prost(string, tag = "1")]
    pub description: String,
    /// The URL.
    #[prost(string, tag = "2")]
    pub url: String,
}

/// A message that can be shown to the user.
#[derive(Clone, PartialEq, Message)]
pub struct LocalizedMessage {
    /// The language as a BCP 47 tag, such as `en-US`.
    #[prost(string, tag = "1")]
    pub locale: String,
    /// The message in that language.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// What to name when reporting the failed request.
#[derive(Clone, PartialEq, Message)]
pub struct RequestInfo {
    /// Identifies the request in the service's logs.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// Data that helps to find it, for instance an encrypted stack trace.
    #[prost(string, tag = "2")]
    pub serving_data: String,
}

/// Facts for debugging. The client gets them: put nothing secret here.
#[derive(Clone, PartialEq, Message)]
pub struct DebugInfo {
    /// Where the error happened.
    #[prost(string, repeated, tag = "1")]
    pub stack_entries: Vec<String>,
    /// Anything else.
    #[prost(string, tag = "2")]
    pub detail: String,
}
