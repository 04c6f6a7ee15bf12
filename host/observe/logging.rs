//! The log: `tracing` to standard error, for people on a terminal and as JSON lines elsewhere.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, registry};

use super::call_span::WithCallSpan;
use super::filter::Filter;
use super::json_lines::JsonLines;
use crate::config::{Log, LogFormat};

/// The environment variable that wins over `log.filter`.
pub const FILTER_VARIABLE: &str = "MORTISE_LOG";

/// The process has one log, and so one filter.
static FILTER: OnceLock<Filter> = OnceLock::new();

/// Sets the process's log up, once.
///
/// # Errors
/// If `MORTISE_LOG` is not a filter, or logging was set up before.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(filter) => Filter::new(&filter).map_err(|error| {
            anyhow::anyhow!("{FILTER_VARIABLE}={filter:?} is not a log filter: {error}; try `info`")
        })?,
        Err(_) => Filter::new(&log.filter)?,
    };
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match human {
        true => {
            let lines = lines.with_ansi(std::io::stderr().is_terminal());
            lines.map_event_format(WithCallSpan).boxed()
        }
        false => lines.event_format(JsonLines).boxed(),
    };
    registry()
        .with(lines)
        .with(filter.clone())
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot set up logging: {error}"))?;
    // It was not set before, or logging would have been set up before.
    let _ = FILTER.set(filter);
    Ok(())
}

/// Whether the filter in force looks at spans, so that they must be there before any line.
pub(super) fn looks_at_spans() -> bool {
    FILTER.get().is_some_and(Filter::looks_at_spans)
}

/// The filter in force, as it was given; none if logging was not set up.
pub fn filter() -> Option<String> {
    FILTER.get().map(Filter::text)
}

/// Replaces the filter, until the process ends.
///
/// # Errors
/// If `filter` is none. The one in force stays.
pub fn set_filter(filter: &str) -> Result<(), ParseError> {
    FILTER.get().map_or(Ok(()), |current| current.replace(filter))
}
