//! [`Status`]: how a call fails, and what of it the client sees.

use std::error::Error;
use std::fmt;

use prost::{Message, Name};

use crate::bindings::mortise::plugin::types as wit;
use crate::text;

/// Longest text kept of an error's causes, in bytes.
const CAUSE_LIMIT: usize = 4096;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $constructor:ident, $text:literal;)*) => {
        /// A gRPC status code other than OK, which is what returning `Ok` means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Code {
            $($(#[$doc])* $name = $number,)*
        }

        impl Code {
            /// The code's number on the wire, 1 to 16.
            pub const fn number(self) -> i32 {
                self as i32
            }

            /// The code's name in the gRPC documents, such as `NOT_FOUND`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Code::$name => $text,)*
                }
            }
        }

        impl Status {
            $(
                #[doc = concat!("A status of code `", $text, "`.")]
                pub fn $constructor(message: impl Into<String>) -> Status {
                    Status::new(Code::$name, message)
                }
            )*
        }

        impl From<wit::Code> for Code {
            fn from(code: wit::Code) -> Code {
                match code {
                    $(wit::Code::$name => Code::$name,)*
                }
            }
        }

        impl From<Code> for wit::Code {
            fn from(code: Code) -> wit::Code {
                match code {
                    $(Code::$name => wit::Code::$name,)*
                }
            }
        }
    };
}

codes! {
    /// The caller cancelled the call.
    Cancelled = 1, cancelled, "CANCELLED";
    /// A failure of no known kind.
    Unknown = 2, unknown, "UNKNOWN";
    /// The request is wrong whatever the state of the service.
    InvalidArgument = 3, invalid_argument, "INVALID_ARGUMENT";
    /// The deadline passed before the call was done.
    DeadlineExceeded = 4, deadline_exceeded, "DEADLINE_EXCEEDED";
    /// Something the request names does not exist.
    NotFound = 5, not_found, "NOT_FOUND";
    /// What the request would create exists.
    AlreadyExists = 6, already_exists, "ALREADY_EXISTS";
    /// The caller is known and may not do this.
    PermissionDenied = 7, permission_denied, "PERMISSION_DENIED";
    /// A quota or another resource is used up.
    ResourceExhausted = 8, resource_exhausted, "RESOURCE_EXHAUSTED";
    /// The service's state does not allow the call; retrying does not help until it changes.
    FailedPrecondition = 9, failed_precondition, "FAILED_PRECONDITION";
    /// The call met another one; retrying the whole sequence may help.
    Aborted = 10, aborted, "ABORTED";
    /// The request reaches past a valid range.
    OutOfRange = 11, out_of_range, "OUT_OF_RANGE";
    /// The method is not served.
    Unimplemented = 12, unimplemented, "UNIMPLEMENTED";
    /// Something that should always hold does not.
    Internal = 13, internal, "INTERNAL";
    /// The service cannot answer now; retrying may help.
    Unavailable = 14, unavailable, "UNAVAILABLE";
    /// Data is lost or damaged.
    DataLoss = 15, data_loss, "DATA_LOSS";
    /// The caller's identity is missing or not valid.
    Unauthenticated = 16, unauthenticated, "UNAUTHENTICATED";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a call failed: a code, a message and typed details for the client, and a cause for the operator.
///
/// `?` turns any other error into [`Code::Unknown`] with the message `Handler failed`: the client learns
/// nothing of it, its whole chain of sources goes to the operator's log. That is also why `Status` does not
/// implement [`Error`]. `anyhow::Error` is no `Error` either; convert it with
/// [`Status::from_error`].
///
/// ```
/// use mortise_guest::Status;
///
/// fn quantity(text: &str) -> Result<u32, Status> {
///     Ok(text.parse::<u32>()?)
/// }
///
/// let status = quantity("many").unwrap_err();
/// assert_eq!(status.message(), "Handler failed");
/// assert_eq!(status.cause(), Some("invalid digit found in string"));
/// ```
#[derive(Clone, PartialEq)]
pub struct Status {
    code: Code,
    message: String,
    details: Vec<Detail>,
    cause: Option<Box<str>>,
}

#[derive(Clone, PartialEq)]
struct Detail {
    type_url: String,
    value: Vec<u8>,
}

impl Status {
    /// A status of `code`; `message` is shown to the client.
    pub fn new(code: Code, message: impl Into<String>) -> Status {
        Status {
            code,
            message: message.into(),
            details: Vec::new(),
            cause: None,
        }
    }

    /// What `?` makes of an error: [`Code::Unknown`], `Handler failed`, the error and its sources as the
    /// cause. Takes what is no [`Error`] itself, such as `anyhow::Error`:
    /// `.map_err(Status::from_error)?`.
    pub fn from_error(error: impl Into<Box<dyn Error + Send + Sync>>) -> Status {
        Status::unknown("Handler failed").caused_by(&*error.into())
    }

    /// Adds a detail, one of [`details`](crate::details) or a message of your own that has a
    /// [type name](prost::Name).
    #[must_use]
    pub fn with_detail<M: Message + Name>(mut self, detail: M) -> Status {
        self.details.push(Detail {
            type_url: type_url::<M>(),
            value: detail.encode_to_vec(),
        });
        self
    }

    /// Adds what made the call fail: `error` and its sources, for the operator's log alone.
    #[must_use]
    pub fn with_cause(self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Status {
        self.caused_by(&*error.into())
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The message for the client.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The first detail of type `M`, if there is one and it parses.
    pub fn detail<M: Message + Name + Default>(&self) -> Option<M> {
        let type_url = type_url::<M>();
        let detail = self.details.iter().find(|detail| detail.type_url == type_url)?;
        M::decode(detail.value.as_slice()).ok()
    }

    /// The cause for the operator's log: the error and its sources, joined by `: `, at most 4 KiB.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    fn caused_by(mut self, error: &(dyn Error + 'static)) -> Status {
        let mut cause = text::Bounded::new(CAUSE_LIMIT);
        cause.push(format_args!("{error}"));
        let mut source = error.source();
        while let Some(error) = source.filter(|_| !cause.is_full()) {
            cause.push(format_args!(": {error}"));
            source = error.source();
        }
        self.cause = Some(cause.into_string().into_boxed_str());
        self
    }
}

/// Every error but a `Status` is the plugin's own trouble, none of the client's business.
impl<E: Error + 'static> From<E> for Status {
    fn from(error: E) -> Status {
        Status::unknown("Handler failed").caused_by(&error)
    }
}

/// The host's refusal of an import. Where it finds fault with what it was asked, the plugin asked it and the
/// client is innocent, so the code becomes INTERNAL.
impl From<wit::Error> for Status {
    fn from(error: wit::Error) -> Status {
        let code = match error.code.into() {
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => Code::Internal,
            code => code,
        };
        let mut status = Status::new(code, error.message);
        status.cause = error
            .limit
            .map(|limit| format!("the host's limit is {limit}").into_boxed_str());
        status
    }
}

/// An upstream's, or a component's that tests run.
impl From<wit::Status> for Status {
    fn from(status: wit::Status) -> Status {
        let details = status.details.into_iter();
        Status {
            code: status.code.into(),
            message: status.message,
            details: details
                .map(|wit::Detail { type_url, value }| Detail { type_url, value })
                .collect(),
            cause: None,
        }
    }
}

impl From<Status> for wit::Status {
    fn from(status: Status) -> wit::Status {
        let details = status.details.into_iter();
        wit::Status {
            code: status.code.into(),
            message: status.message,
            details: details
                .map(|Detail { type_url, value }| wit::Detail { type_url, value })
                .collect(),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details: Vec<&str> = self
            .details
            .iter()
            .map(|detail| detail.type_url.as_str())
            .collect();
        f.debug_struct("Status")
            .field("code", &self.code)
            .field("message", &self.message)
            .field("details", &details)
            .field("cause", &self.cause)
            .finish()
    }
}

fn type_url<M: Name>() -> String {
    format!("type.googleapis.com/{}", M::full_name())
}
