//! Logging: the `tracing` and `log` macros of a plugin end in the operator's log.
//!
//! Lines more detailed than the operator records are dropped before they are made. Every line is bounded
//! here, so that a plugin cannot spend the call on logging by mistake; the host has bounds of its own.

mod facade;
mod spans;
mod subscriber;

use std::cell::Cell;
use std::fmt;

use crate::bindings::mortise::plugin::log::Level;
use crate::{Status, host, text};

#[cfg(not(target_family = "wasm"))]
pub(crate) use subscriber::Forward;

/// Longest message of a line, in bytes.
pub(crate) const MESSAGE_LIMIT: usize = 8192;
/// Longest field value, in bytes.
const VALUE_LIMIT: usize = 2048;
/// Most fields of a line, those of the spans around it included.
const FIELDS_LIMIT: usize = 32;

thread_local! {
    /// The operator's level, asked for by the first line of a call.
    static MAX_LEVEL: Cell<Option<Option<Level>>> = const { Cell::new(None) };
}

/// Makes the macros write to the host, and forgets what the last call of this instance learnt.
pub(crate) fn start_call() {
    MAX_LEVEL.set(None);
    spans::forget();
    facade::install();
    #[cfg(target_family = "wasm")]
    subscriber::install();
}

/// Whether the operator records lines of this level.
fn is_enabled(level: Level) -> bool {
    let max_level = MAX_LEVEL.get().unwrap_or_else(|| {
        let max_level = host::log::max_level();
        MAX_LEVEL.set(Some(max_level));
        max_level
    });
    // Levels are declared from the most detailed to the least.
    max_level.is_some_and(|max_level| level as u8 >= max_level as u8)
}

pub(crate) fn write(level: Level, target: &str, message: text::Bounded, fields: Fields) {
    host::log::write(level, target, &message.into_string(), &fields.0);
}

/// Leaves the cause of a failed call for the operator.
pub(crate) fn failure(status: &Status) {
    if let Some(cause) = status.cause() {
        let mut fields = Fields::default();
        fields.add("code", format_args!("{}", status.code()));
        fields.add("cause", format_args!("{cause}"));
        let mut message = text::Bounded::new(MESSAGE_LIMIT);
        message.push(format_args!("{}", status.message()));
        write(Level::Error, "mortise_guest", message, fields);
    }
}

/// The fields of one line.
#[derive(Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Adds a field, unless the line has too many.
    pub(crate) fn add(&mut self, name: &str, value: fmt::Arguments<'_>) {
        if self.0.len() < FIELDS_LIMIT {
            let mut text = text::Bounded::new(VALUE_LIMIT);
            text.push(value);
            self.0.push((name.to_owned(), text.into_string()));
        }
    }

    /// Puts a value in the place of the field's earlier one.
    fn set(&mut self, name: String, value: String) {
        if let Some(field) = self.0.iter_mut().find(|field| field.0 == name) {
            field.1 = value;
        } else if self.0.len() < FIELDS_LIMIT {
            self.0.push((name, value));
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|field| field.0 == name)
    }
}
