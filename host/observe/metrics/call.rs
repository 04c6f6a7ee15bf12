//! What one call adds to the figures of its generation.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use super::generation::{Calls, GenerationMetrics};
use super::instrument::Counter;

/// A part of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Until the request message was there.
    Read,
    /// Until it was the call's turn.
    Queue,
    /// In sandboxes, all attempts together.
    Guest,
    /// Until what it staged was durable, all attempts together, and between attempts.
    Commit,
}

/// How long each stage took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stages([Duration; 4]);

impl Stages {
    /// How long `stage` took, in milliseconds.
    pub fn millis(&self, stage: Stage) -> u64 {
        u64::try_from(self.0[stage as usize].as_millis()).unwrap_or(u64::MAX)
    }
}

/// What is noted of one call while it runs. Dropped before its end, as it is when the client goes away, it
/// counts as CANCELLED.
#[derive(Debug)]
pub struct CallRecord<'g> {
    generation: &'g GenerationMetrics,
    method: usize,
    arrived: Instant,
    /// When the last stage ended.
    lap: Instant,
    stages: Stages,
    ended: bool,
}

impl<'g> CallRecord<'g> {
    pub(super) fn new(generation: &'g GenerationMetrics, method: usize, arrived: Instant) -> Self {
        Self {
            generation,
            method,
            arrived,
            lap: arrived,
            stages: Stages::default(),
            ended: false,
        }
    }

    /// `stage` ends now, and began when the one before it ended.
    pub fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        let took = now.duration_since(self.lap);
        self.stages.0[stage as usize] += took;
        self.lap = now;
        if stage == Stage::Queue {
            self.generation.queue.mine().observe(took);
        }
    }

    /// The call was not let in.
    pub fn not_admitted(&self, reason: &str) {
        self.generation.admission_refusals.count(reason);
    }

    /// An attempt met a conflict.
    pub fn conflict(&self) {
        self.calls(|calls| &calls.conflicts);
    }

    /// The handler runs once more.
    pub fn retry(&self) {
        self.calls(|calls| &calls.retries);
    }

    /// The host itself ended the call.
    pub fn ended_by_host(&self, reason: &str) {
        self.generation.host_statuses.count(reason);
    }

    /// It took longer than the operator's patience.
    pub fn slow(&self) {
        self.generation.slow.increment();
    }

    /// Since the headers arrived.
    pub fn elapsed(&self) -> Duration {
        self.arrived.elapsed()
    }

    /// When the headers came.
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// How long the stages took that have ended.
    pub fn stages(&self) -> Stages {
        self.stages
    }

    /// The call ends with this status, and took so long.
    pub fn end(mut self, code: Code, took: Duration) {
        self.finish(code, took);
    }

    fn finish(&mut self, code: Code, took: Duration) {
        self.ended = true;
        if let Some(method) = self.generation.methods.get(self.method) {
            let calls = method.calls.mine();
            calls.seconds.observe(took);
            calls.ended[code as usize].increment();
        }
    }

    fn calls(&self, counter: impl Fn(&Calls) -> &Counter) {
        if let Some(method) = self.generation.methods.get(self.method) {
            counter(method.calls.mine()).increment();
        }
    }
}

impl Drop for CallRecord<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.finish(Code::Cancelled, self.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn a_call_counts_once_with_its_status_and_its_time() {
        let metrics = GenerationMetrics::new(Arc::default(), ["/a.B/C", "/a.B/D"]);
        let mut record = metrics.begin(1, Instant::now());
        assert_eq!(metrics.in_flight(), 1);
        tokio::time::advance(Duration::from_millis(3)).await;
        record.lap(Stage::Queue);
        tokio::time::advance(Duration::from_millis(2)).await;
        record.lap(Stage::Guest);
        assert_eq!(record.stages().millis(Stage::Guest), 2);
        let took = record.elapsed();
        record.end(Code::NotFound, took);
        drop(metrics.begin(1, Instant::now()));
        assert_eq!(metrics.in_flight(), 0);
        let figures: Vec<_> = metrics.methods().collect();
        assert_eq!(figures.len(), 1, "the other method was not called");
        assert_eq!(figures[0].ended()[Code::NotFound as usize], 1);
        assert_eq!(figures[0].ended()[Code::Cancelled as usize], 1);
        assert_eq!(figures[0].seconds().sum, 5_000_000);
        assert_eq!(metrics.queue().sum, 3_000_000);
    }
}
