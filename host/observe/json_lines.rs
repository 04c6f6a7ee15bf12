//! Lines of the log as JSON objects.
//!
//! That of tracing-subscriber writes the fields of a span down when it is made, and parses them again for each line:
//! together dearer than the line itself. So this one takes what it says of a call from the call's [`CallSpan`].

use std::fmt;
use std::time::SystemTime;

use serde::Serialize;
use tracing::{Event, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_serde::fields::{AsMap as _, SerializeFieldMap};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::CallSpan;

/// Writes one object for each event, on a line of its own.
pub(super) struct JsonLines;

#[derive(Serialize)]
struct Line<'l> {
    /// RFC 3339, in microseconds.
    timestamp: fmt::Arguments<'l>,
    level: &'static str,
    fields: SerializeFieldMap<'l, Event<'l>>,
    target: &'l str,
    /// The call that the line is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    span: Option<&'l CallSpan>,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Of crates that log without `tracing`.
        let foreign = event.normalized_metadata();
        let metadata = foreign.as_ref().unwrap_or_else(|| event.metadata());
        let line = CallSpan::with_current(|span| {
            serde_json::to_string(&Line {
                timestamp: format_args!("{}", humantime::format_rfc3339_micros(SystemTime::now())),
                level: metadata.level().as_str(),
                fields: event.field_map(),
                target: metadata.target(),
                span,
            })
        });
        writeln!(writer, "{}", line.map_err(|_| fmt::Error)?)
    }
}
