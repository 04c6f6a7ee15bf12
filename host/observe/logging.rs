//! The log: `tracing` to standard error, for people on a terminal and as JSON lines elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// The environment variable that wins over `log.filter`.
pub const FILTER_VARIABLE: &str = "MORTISE_LOG";

/// Sets the process's log up, once.
///
/// # Errors
/// If `MORTISE_LOG` is not a filter, or logging was set up before.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(filter) => parse_filter(&filter).map_err(|error| {
            anyhow::anyhow!("{FILTER_VARIABLE}={filter:?} is not a log filter: {error}; try `info`")
        })?,
        Err(_) => parse_filter(&log.filter)?,
    };
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let result = if human {
        subscriber.with_ansi(std::io::stderr().is_terminal()).try_init()
    } else {
        subscriber.json().with_span_list(false).try_init()
    };
    result.map_err(|error| anyhow::anyhow!("cannot set up logging: {error}"))
}

/// A level alone is Mortise's: its libraries log for their own developers, and only their warnings matter.
fn parse_filter(filter: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    match filter.parse::<tracing::level_filters::LevelFilter>() {
        Ok(level) => EnvFilter::try_new(format!("warn,mortise={level}")),
        Err(_) => EnvFilter::try_new(filter),
    }
}
