//! What the log says of calls: their span, and a line where the operator may have to do something.

use std::time::{Duration, Instant};

use http::HeaderMap;
use tracing::Span;
use tracing::field::{Empty, display};

use super::metrics::{CallRecord, Stage};
use super::{Throttle, TraceContext, printable};
use crate::capability::Namespace;
use crate::router::Route;
use crate::status::{Blame, Failure, code_name};

/// Request ids are shown up to this length.
const MAX_SHOWN_BYTES: usize = 256;

/// The target of all of them, by which an operator asks for more of them (`log.filter`).
const TARGET: &str = "mortise::calls";

/// Of the lines about slow calls, where others have the reason of a failure.
const SLOW: &str = "SLOW_CALL";

/// Writes of calls what the operator is to know, at a bounded rate for each reason and plugin.
#[derive(Debug)]
pub struct CallLog {
    lines: Throttle<(&'static str, Namespace)>,
    /// None says nothing of slow calls.
    slow: Option<Duration>,
}

impl CallLog {
    /// Calls that take `slow` or longer get a line.
    pub fn new(slow: Option<Duration>) -> Self {
        Self {
            lines: Throttle::default(),
            slow,
        }
    }

    /// The span of one call. What is known of it is given at once: a field recorded later has the others
    /// written anew. Nothing is formatted for it if spans of this level are not written.
    pub fn span(
        id: &str,
        path: &str,
        headers: &HeaderMap,
        route: &Route,
        trace: Option<&TraceContext>,
    ) -> Span {
        if !tracing::enabled!(tracing::Level::INFO) {
            return Span::none();
        }
        let generation = &route.generation;
        let request_id = headers.get("x-request-id").map(|request_id| {
            let request_id = String::from_utf8_lossy(request_id.as_bytes());
            printable(&request_id, MAX_SHOWN_BYTES)
        });
        tracing::info_span!(
            "call",
            id,
            method = path,
            plugin = generation.name.as_str(),
            generation = generation.number,
            request_id,
            trace_id = trace.map(|trace| display(trace.trace_id())),
            span_id = trace.map(|trace| display(trace.span_id())),
            parent_span_id = trace.map(|trace| display(trace.parent_span_id())),
            attempt = Empty,
            status = Empty,
        )
    }

    /// A handler answered, with OK or a status of its own.
    pub fn answered(&self, code: tonic::Code, took: Duration) {
        if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
            let code = code_name(code);
            Span::current().record("status", code);
            tracing::debug!(target: TARGET, code, ms = millis(took), "call answered");
        }
    }

    /// The host ended the call.
    pub fn failed(&self, failure: &Failure, plugin: &Namespace, took: Duration) {
        let row = failure.row();
        let (reason, code, blame, ms) = (row.reason, code_name(row.code), row.blame.as_str(), millis(took));
        let late = *failure == Failure::DeadlineExceeded;
        if row.blame == Blame::Client && !late {
            let cause = failure.cause().map(display);
            tracing::debug!(target: TARGET, reason, code, blame, ms, cause, "call failed: {}", row.message);
            return;
        }
        let Some(suppressed) = self.admit(reason, plugin) else {
            return;
        };
        Span::current().record("status", code);
        if late {
            // Nobody's fault for sure: a client in a hurry, or a plugin that takes too long.
            tracing::info!(target: TARGET, reason, code, ms, suppressed, "call failed: {}", row.message);
        } else {
            let cause = failure.cause().map(display);
            tracing::error!(
                target: TARGET,
                reason,
                code,
                blame,
                ms,
                cause,
                suppressed,
                "call failed: {}",
                row.message
            );
        }
    }

    /// Whether the call took so long that it gets a line, which this writes.
    pub fn slow(&self, record: &CallRecord<'_>, code: tonic::Code, plugin: &Namespace, took: Duration) {
        if self.slow.is_none_or(|slow| took < slow) {
            return;
        }
        record.slow();
        let Some(suppressed) = self.admit(SLOW, plugin) else {
            return;
        };
        let stages = record.stages();
        tracing::warn!(
            target: TARGET,
            code = code_name(code),
            ms = millis(took),
            read_ms = stages.millis(Stage::Read),
            queue_ms = stages.millis(Stage::Queue),
            guest_ms = stages.millis(Stage::Guest),
            commit_ms = stages.millis(Stage::Commit),
            suppressed,
            "slow call"
        );
    }

    /// None if the line is not to be written; else how many were not since the last one, if any.
    fn admit(&self, reason: &'static str, plugin: &Namespace) -> Option<Option<u64>> {
        let suppressed = self.lines.admit((reason, plugin.clone()), Instant::now())?;
        Some((suppressed > 0).then_some(suppressed))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
