use std::time::Instant;

use tonic::Code;

use super::{Failed, Reply};
use crate::observe::metrics::{Counter, Durations};
use crate::status::Failure;

/// The codes of gRPC, from 0 for OK to 16.
const CODES: usize = 17;

/// What is counted of one plugin's calls to a target.
#[derive(Debug, Default)]
pub struct CallMetrics {
    /// How long calls took, waiting and repetitions included.
    pub seconds: Durations,
    /// Repetitions.
    pub retries: Counter,
    /// By code, as the target answered.
    by_target: [Counter; CODES],
    /// By code, as the host answered in its place.
    by_host: [Counter; CODES],
}

impl CallMetrics {
    /// Calls that have ended: who answered, with which code, and how many. Only those that occurred.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, Code, u64)> {
        let of = |origin, counters: &'_ [Counter; CODES]| {
            let counts = (0..).zip(counters.each_ref().map(Counter::value));
            counts.map(move |(code, count)| (origin, Code::from_i32(code), count))
        };
        of("target", &self.by_target)
            .chain(of("host", &self.by_host))
            .filter(|(_, _, count)| *count > 0)
    }

    pub(super) fn begin(&self) -> Record<'_> {
        Record {
            metrics: self,
            began: Instant::now(),
            ended: false,
        }
    }
}

/// One call. Dropped before its end, because the call on whose behalf it is made has ended, it counts as
/// CANCELLED by the host.
pub(super) struct Record<'m> {
    metrics: &'m CallMetrics,
    began: Instant,
    ended: bool,
}

impl Record<'_> {
    pub(super) fn end(mut self, outcome: &Result<Reply, Failed>) {
        let metrics = self.metrics;
        match outcome {
            Ok(_) => self.count(&metrics.by_target, Code::Ok),
            Err(Failed::Answered(answered)) => self.count(&metrics.by_target, answered.code),
            Err(Failed::Refused(refusal)) => {
                let code = Failure::Upstream(refusal.clone()).row().code;
                self.count(&metrics.by_host, code);
            }
        }
    }

    fn count(&mut self, counters: &[Counter; CODES], code: Code) {
        self.ended = true;
        counters[code as usize].increment();
        self.metrics.seconds.observe(self.began.elapsed());
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let metrics = self.metrics;
            self.count(&metrics.by_host, Code::Cancelled);
        }
    }
}
