use std::borrow::Cow;

/// Why a capability refused a guest's request.
///
/// The message is written for the plugin's author and carries nothing internal: it may reach the guest and,
/// through the guest, a client. The host's own causes go to the log where they arise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    limit: Option<u64>,
}

/// What kind of refusal an [`Error`] is; the bindings choose the gRPC code by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request makes no sense, whatever the state of the host.
    InvalidArgument,
    /// A bound was passed; [`Error::limit`] says which value it has.
    LimitExceeded,
    /// A write in a call that may only read.
    ReadOnly,
    /// The capability is not working just now. Nothing was done.
    Unavailable,
    /// A fault of the host. The cause is in its log.
    Internal,
}

impl Error {
    /// What kind of refusal it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// One sentence, safe for the guest.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The bound that was passed, in its own unit (bytes, keys, operations), if a bound was the reason.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: ErrorKind::InvalidArgument,
            message: message.into(),
            limit: None,
        }
    }

    pub(crate) fn limit_exceeded(message: impl Into<Cow<'static, str>>, limit: usize) -> Self {
        Self {
            kind: ErrorKind::LimitExceeded,
            message: message.into(),
            limit: Some(limit as u64),
        }
    }

    pub(crate) fn read_only() -> Self {
        let message = "this call may only read: its method is marked NO_SIDE_EFFECTS".into();
        Self {
            kind: ErrorKind::ReadOnly,
            message,
            limit: None,
        }
    }

    pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: ErrorKind::Unavailable,
            message: message.into(),
            limit: None,
        }
    }

    pub(crate) fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: ErrorKind::Internal,
            message: message.into(),
            limit: None,
        }
    }
}
