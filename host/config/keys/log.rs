//! `[log]`: what the host and its plugins write down.

use std::time::Duration;

use crate::config::setting::{Choices, KIB, MIB, bytes, choice, count, log_filter, millis};

section! {
    /// The host's own log, on standard error.
    Log at "log" {
        /// How lines look: `human` is for reading, `json` for collecting, `auto` is `human` on a terminal
        /// and `json` elsewhere.
        "format" => format: LogFormat = choice(LogFormat::Auto);
        /// Which lines are written: a level, or levels by target. The environment variable `MORTISE_LOG` wins
        /// over this key.
        "filter" => filter: String = log_filter("info");
        /// Calls that take this long or longer get a line, with the time that each stage took; 0 writes none.
        "slow_call_ms" => slow_call: Duration = millis(10_000, 0, 86_400_000);
        /// The longest line a plugin may log. What exceeds it is cut, and the line says so.
        "max_guest_line_bytes" => max_guest_line_bytes: usize = bytes(4 * KIB, 64, MIB);
        /// The most lines one call may log. Further ones are dropped, and the log says how many.
        "max_guest_lines_per_call" => max_guest_lines_per_call: usize = count(100, 0, 100_000);
    }
}

top_level!(Log);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `Human` when standard error is a terminal, else `Json`.
    Auto,
    /// For reading.
    Human,
    /// One JSON object on each line.
    Json,
}

impl Choices for LogFormat {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("auto", LogFormat::Auto),
        ("human", LogFormat::Human),
        ("json", LogFormat::Json),
    ];
}
