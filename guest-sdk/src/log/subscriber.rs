//! The `tracing` subscriber.

use std::fmt;

use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Current, Id, Record};
use tracing_core::{Event, Interest, Metadata, Subscriber};

use super::{Fields, MESSAGE_LIMIT, is_enabled, spans};
use crate::bindings::mortise::plugin::log::Level;
use crate::text;

/// Forwards events to the host; an event carries the fields of the spans it happens in.
pub(crate) struct Forward;

#[cfg(target_family = "wasm")]
pub(super) fn install() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static INSTALLED: AtomicBool = AtomicBool::new(false);

    if !INSTALLED.swap(true, Ordering::Relaxed) {
        let dispatch = tracing_core::Dispatch::new(Forward);
        // Fails only if the plugin has a subscriber of its own, which then stays.
        let _ = tracing_core::dispatcher::set_global_default(dispatch);
    }
}

impl Subscriber for Forward {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // An instance may outlive a change of the operator's level, so the level is looked at each time.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_enabled(level(metadata.level()))
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line {
            message: text::Bounded::new(MESSAGE_LIMIT),
            fields: Fields::default(),
        };
        event.record(&mut line);
        spans::add_current(&mut line.fields);
        super::write(
            level(metadata.level()),
            metadata.target(),
            line.message,
            line.fields,
        );
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        spans::open(attributes)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        spans::record(span, values);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, span: &Id) {
        spans::enter(span);
    }

    fn exit(&self, span: &Id) {
        spans::exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        spans::share(span);
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        spans::close(&span)
    }

    fn current_span(&self) -> Current {
        spans::current()
    }
}

struct Line {
    message: text::Bounded,
    fields: Fields,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

impl Line {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == "message" {
            self.message.push(value);
        } else {
            self.fields.add(field.name(), value);
        }
    }
}

/// Span fields, recorded as an event's are.
impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format_args!("{value:?}"));
    }
}

fn level(level: &tracing_core::Level) -> Level {
    match *level {
        tracing_core::Level::ERROR => Level::Error,
        tracing_core::Level::WARN => Level::Warn,
        tracing_core::Level::INFO => Level::Info,
        tracing_core::Level::DEBUG => Level::Debug,
        tracing_core::Level::TRACE => Level::Trace,
    }
}
