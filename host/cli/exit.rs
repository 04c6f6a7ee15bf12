//! From errors to exit codes and to what the user reads.

use std::fmt;
use std::process::ExitCode;

use super::call::NotOk;
use super::health::NotServing;
use crate::config::ConfigErrors;

const RUNTIME: u8 = 1;
const USAGE: u8 = 2;
const CONFIG: u8 = 3;
const NOT_SERVING: u8 = 4;
/// A gRPC status is this and its number.
const STATUS: u8 = 64;

/// An error with a line that tells what to do about it, shown last.
#[derive(Debug)]
pub struct Hint {
    hint: String,
    error: anyhow::Error,
}

impl Hint {
    /// `hint` is one or a few plain lines and may name commands.
    pub fn new(error: impl Into<anyhow::Error>, hint: impl Into<String>) -> Self {
        Hint {
            hint: hint.into(),
            error: error.into(),
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Hint {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.chain().nth(1)
    }
}

/// Adds a [`Hint`] to a failed result.
pub trait WithHint<T> {
    /// See [`Hint::new`].
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithHint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| Hint::new(error, hint).into())
    }
}

/// A mistake on the command line that only the command itself could see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UsageError(pub(super) String);

/// Shows `error` on standard error and says with which code to exit.
pub(super) fn report(error: &anyhow::Error) -> ExitCode {
    let hint = error.downcast_ref::<Hint>();
    let kind = hint.map_or(error, |hint| &hint.error);
    if let Some(not_ok) = kind.downcast_ref::<NotOk>() {
        eprintln!("{not_ok}");
        return ExitCode::from(STATUS + not_ok.code_number());
    }
    if let Some(errors) = kind.downcast_ref::<ConfigErrors>() {
        for error in errors.iter() {
            eprintln!("error: {error}");
        }
        return ExitCode::from(CONFIG);
    }
    let mut said = error.to_string();
    eprintln!("error: {said}");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many errors repeat their source in their own text; saying it twice helps nobody.
        if !said.contains(&cause) {
            eprintln!("  caused by: {cause}");
            said = cause;
        }
    }
    if let Some(hint) = hint {
        eprintln!("hint: {}", hint.hint);
    }
    ExitCode::from(match kind {
        kind if kind.is::<UsageError>() => USAGE,
        kind if kind.is::<NotServing>() => NOT_SERVING,
        _ => RUNTIME,
    })
}
