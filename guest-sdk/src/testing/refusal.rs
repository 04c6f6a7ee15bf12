//! How the host refuses what a plugin asks of it.

use crate::bindings::mortise::plugin::types::{Code, Error};

/// The request makes no sense.
pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error {
        code: Code::InvalidArgument,
        message: message.into(),
        limit: None,
    }
}

/// A bound is passed.
pub(super) fn over_limit(message: impl Into<String>, limit: usize) -> Error {
    Error {
        code: Code::ResourceExhausted,
        message: message.into(),
        limit: Some(limit as u64),
    }
}

/// A write in a call that may only read.
pub(super) fn read_only() -> Error {
    let message = "this call may only read: its method is marked NO_SIDE_EFFECTS";
    Error {
        code: Code::FailedPrecondition,
        message: message.to_owned(),
        limit: None,
    }
}
