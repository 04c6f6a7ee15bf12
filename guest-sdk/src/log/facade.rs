//! The `log` crate's logger.

use log::{LevelFilter, Log, Metadata, Record};

use super::{Fields, MESSAGE_LIMIT, is_enabled, spans};
use crate::bindings::mortise::plugin::log::Level;
use crate::text;

struct Logger;

pub(super) fn install() {
    // Natively a test may have a logger of its own, which then stays.
    if log::set_logger(&Logger).is_ok() {
        // What the operator records is asked of the host when the first line comes.
        log::set_max_level(LevelFilter::Trace);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_enabled(level(metadata.level()))
    }

    fn log(&self, record: &Record<'_>) {
        let level = level(record.level());
        if is_enabled(level) {
            let mut message = text::Bounded::new(MESSAGE_LIMIT);
            message.push(*record.args());
            let mut fields = Fields::default();
            spans::add_current(&mut fields);
            super::write(level, record.target(), message, fields);
        }
    }

    fn flush(&self) {}
}

fn level(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug => Level::Debug,
        log::Level::Trace => Level::Trace,
    }
}
