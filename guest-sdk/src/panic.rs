//! Panics reach the operator's log. The client sees only what the host says of the trap that follows.

use std::panic::PanicHookInfo;

use crate::bindings::mortise::plugin::log::Level;
use crate::{log, text};

pub(crate) fn install_hook() {
    // No allocation: the hook is of size zero.
    std::panic::set_hook(Box::new(report));
}

fn report(panic: &PanicHookInfo<'_>) {
    let mut message = text::Bounded::new(log::MESSAGE_LIMIT);
    message.push(format_args!(
        "panicked: {}",
        panic.payload_as_str().unwrap_or("(no message)")
    ));
    let mut fields = log::Fields::default();
    if let Some(location) = panic.location() {
        fields.add("location", format_args!("{location}"));
    }
    log::write(Level::Error, "panic", message, fields);
}
