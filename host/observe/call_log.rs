//! What the log says of calls: a line where the operator may have to do something.

use std::time::{Duration, Instant};

use tracing::field::display;

use super::metrics::{CallRecord, Stage};
use super::{CallSpan, Throttle, printable};
use crate::capability::Namespace;
use crate::status::{Blame, Failure, code_name};

/// The target of all of them, by which an operator asks for more of them (`log.filter`).
const TARGET: &str = "mortise::calls";

/// Of the lines about slow calls, where others have the reason of a failure.
const SLOW: &str = "SLOW_CALL";

/// Paths are shown up to this length.
const MAX_SHOWN_BYTES: usize = 256;

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

    /// A handler answered, with OK or a status of its own.
    pub fn answered(&self, code: tonic::Code, took: Duration) {
        if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
            let code = code_name(code);
            CallSpan::status(code);
            tracing::debug!(target: TARGET, code, ms = millis(took), "call answered");
        }
    }

    /// The host ended the call.
    pub fn failed(&self, failure: &Failure, plugin: &Namespace, took: Duration) {
        let row = failure.row();
        let (reason, code, blame, ms) = (row.reason, code_name(row.code), row.blame.as_str(), millis(took));
        // Nobody's fault for sure: a client in a hurry, or a plugin that takes too long.
        let late = matches!(failure, Failure::DeadlineExceeded | Failure::ShuttingDown);
        if row.blame == Blame::Client && !late {
            let cause = failure.cause().map(display);
            tracing::debug!(target: TARGET, reason, code, blame, ms, cause, "call failed: {}", row.message);
            return;
        }
        let Some(suppressed) = self.admit(reason, plugin) else {
            return;
        };
        CallSpan::status(code);
        if late {
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

    /// The host ended a call that reached no plugin.
    pub fn unrouted(&self, failure: &Failure, path: &str) {
        if !tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
            return;
        }
        let path = printable(path, MAX_SHOWN_BYTES);
        let row = failure.row();
        let (reason, code, blame) = (row.reason, code_name(row.code), row.blame.as_str());
        tracing::debug!(target: TARGET, reason, code, blame, path, "call failed: {}", row.message);
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
