//! `log`: lines of a plugin, in the span of its call.

use super::fake_host_answers;
use super::generated::mortise::plugin::log;
use crate::observe::printable;
use crate::plugin::state::CallState;

/// How many log fields a line may carry, and how long a field's name may be.
const MAX_FIELDS: usize = 32;
const MAX_FIELD_NAME_BYTES: usize = 64;
const MAX_TARGET_BYTES: usize = 128;

impl log::Host for CallState {
    fn max_level(&mut self) -> Option<log::Level> {
        fake_host_answers!(self, "log.max-level");
        use tracing::level_filters::LevelFilter;
        Some(match LevelFilter::current() {
            LevelFilter::OFF => return None,
            LevelFilter::ERROR => log::Level::Error,
            LevelFilter::WARN => log::Level::Warn,
            LevelFilter::INFO => log::Level::Info,
            LevelFilter::DEBUG => log::Level::Debug,
            _ => log::Level::Trace,
        })
    }

    fn write(&mut self, level: log::Level, target: String, message: String, fields: Vec<(String, String)>) {
        fake_host_answers!(self, "log.write", level, target, message, fields);
        let Some(max_bytes) = self.output.lock().take_line() else {
            return;
        };
        let message = printable(&message, max_bytes);
        let target = printable(&target, MAX_TARGET_BYTES);
        let fields = render_fields(&fields, max_bytes.saturating_sub(message.len()));
        // tracing fixes an event's target at compile time, so the guest's is a field.
        macro_rules! event {
            ($level:ident) => {
                if fields.is_empty() {
                    tracing::$level!(target: "mortise::guest", guest_target = target, "{message}")
                } else {
                    tracing::$level!(target: "mortise::guest", guest_target = target, fields, "{message}")
                }
            };
        }
        match level {
            log::Level::Trace => event!(trace),
            log::Level::Debug => event!(debug),
            log::Level::Info => event!(info),
            log::Level::Warn => event!(warn),
            log::Level::Error => event!(error),
        }
    }
}

/// `name=value` pairs within `max_bytes`.
fn render_fields(fields: &[(String, String)], max_bytes: usize) -> String {
    let mut rendered = String::new();
    for (name, value) in fields.iter().take(MAX_FIELDS) {
        let left = max_bytes.saturating_sub(rendered.len());
        if left == 0 {
            break;
        }
        if !rendered.is_empty() {
            rendered.push(' ');
        }
        rendered.push_str(&printable(name, MAX_FIELD_NAME_BYTES));
        rendered.push('=');
        rendered.push_str(&printable(value, left));
    }
    rendered
}
