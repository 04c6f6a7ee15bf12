//! Calls that meet conflicts, and what their attempts have in common.

use std::time::Duration;

use super::answer::{Failure, Response};
use super::idempotency::refused;
use super::{Host, Request, logged};
use crate::bindings::mortise::plugin::limits::{Decision, Rate};
use crate::bindings::mortise::plugin::upstream as wit;
use crate::details::{ErrorInfo, RetryInfo};
use crate::{Call, Status};

/// As `store.max_attempts` is by default.
const MAX_ATTEMPTS: u32 = 5;
const RETRY_AFTER: Duration = Duration::from_millis(100);

impl Host {
    /// Runs a handler as one call that loses to others: after each of the first `conflicts` attempts that
    /// the host would commit, `rival` does what another call does meanwhile, nothing of the attempt is kept,
    /// and the handler runs again. `rival` is told the number of the attempt, from 1.
    ///
    /// As with the real host, an attempt keeps the call's id, deadline and identity, and begins with empty
    /// metadata; rate-limit decisions and answers of upstreams are those of the attempt before, as long as
    /// the handler asks the same.
    ///
    /// ```
    /// use mortise_guest::testing::{Host, Request};
    ///
    /// let mut host = Host::new();
    /// let count = |call: &mut mortise_guest::Call| {
    ///     let counts = call.table::<u64>("counts");
    ///     let count = counts.get("all")?.unwrap_or(0) + 1;
    ///     counts.put("all", &count)?;
    ///     Ok(count)
    /// };
    /// let rival = |host: &mut Host, _| drop(host.call(Request::new(), count));
    /// let answer = host.contended(Request::new(), 2, rival, count).unwrap();
    /// assert_eq!(answer.message, 3, "two rivals came first");
    /// ```
    ///
    /// # Errors
    /// As [`call`](Host::call); `ABORTED` when five attempts have met conflicts.
    ///
    /// # Panics
    /// As [`call`](Host::call).
    pub fn contended<T>(
        &mut self,
        mut request: Request,
        conflicts: u32,
        mut rival: impl FnMut(&mut Host, u32),
        mut handler: impl FnMut(&mut Call) -> Result<T, Status>,
    ) -> Result<Response<T>, Failure> {
        let begun = self.state.clock.now();
        let timeout = request.timeout;
        for attempt in 1..=MAX_ATTEMPTS {
            request = request.attempt(attempt);
            request.again = attempt > 1;
            let elapsed = self.state.clock.now().duration_since(begun).unwrap_or_default();
            request.timeout = timeout.map(|timeout| timeout.saturating_sub(elapsed));
            let may_commit = attempt > conflicts;
            let ended = self.attempt(request.clone(), may_commit, |call| logged(handler(call)));
            let Some(result) = ended else {
                // Those after it are of the same call.
                let id = format!("call-{}", self.state.calls());
                request.id.get_or_insert(id);
                let carried = std::mem::take(&mut self.state.carried);
                rival(self, attempt);
                self.state.carried = carried;
                continue;
            };
            return result;
        }
        let details = ErrorInfo {
            reason: "CONFLICT".to_owned(),
            domain: "mortise".to_owned(),
            ..ErrorInfo::default()
        };
        let status = Status::aborted("The call kept meeting conflicting changes; try again");
        Err(refused(
            status
                .with_detail(details)
                .with_detail(RetryInfo::after(RETRY_AFTER)),
        ))
    }
}

/// What an attempt takes over from the one before.
#[derive(Debug, Default)]
pub(super) struct Carried {
    decisions: Vec<(Bucket, Decision)>,
    replies: Vec<(Asked, Result<wit::Reply, wit::Failure>)>,
}

/// Name, tokens, and the rate's numbers.
type Bucket = (String, u32, [u64; 3]);
/// Target, method and message.
type Asked = (String, String, Vec<u8>);

impl Carried {
    /// The decision number `number` of the call, if it was taken before.
    pub(super) fn decision(
        &mut self,
        number: usize,
        bucket: &str,
        tokens: u32,
        rate: Rate,
    ) -> Option<Decision> {
        let asked = asked_for(bucket, tokens, rate);
        let (earlier, decision) = self.decisions.get(number)?;
        let same = *earlier == asked;
        let decision = *decision;
        if !same {
            // A handler that asks differently is answered afresh from here on.
            self.decisions.truncate(number);
        }
        same.then_some(decision)
    }

    pub(super) fn decided(&mut self, bucket: &str, tokens: u32, rate: Rate, decision: Decision) {
        self.decisions.push((asked_for(bucket, tokens, rate), decision));
    }

    /// The outcome of the upstream call number `number`, if it was made before; an error if it was another.
    pub(super) fn reply(
        &self,
        number: usize,
        request: &wit::Request,
    ) -> Option<Result<Result<wit::Reply, wit::Failure>, Diverged>> {
        let (earlier, outcome) = self.replies.get(number)?;
        Some(match *earlier == asked_of(request) {
            true => Ok(outcome.clone()),
            false => Err(Diverged),
        })
    }

    pub(super) fn replied(&mut self, request: &wit::Request, outcome: &Result<wit::Reply, wit::Failure>) {
        self.replies.push((asked_of(request), outcome.clone()));
    }
}

/// An attempt called something else than the one before.
#[derive(Debug)]
pub(super) struct Diverged;

fn asked_for(bucket: &str, tokens: u32, rate: Rate) -> Bucket {
    let numbers = [rate.burst.into(), rate.refill.into(), rate.period_ms];
    (bucket.to_owned(), tokens, numbers)
}

fn asked_of(request: &wit::Request) -> Asked {
    (
        request.target.clone(),
        request.method.clone(),
        request.message.clone(),
    )
}
