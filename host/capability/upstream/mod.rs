//! Unary gRPC calls to targets that the operator names.
//!
//! [`Upstreams`] holds every target of the host; a plugin reaches those that it asks for and that the operator
//! grants, through its [`Granted`]. One call of a plugin's goes through [`Granted::call`]: bounds and journal,
//! then [`Target`]: allowed methods, turn, breaker, retries, then `exchange`: HTTP/2. What a target answers is
//! handed on as it is; what the host itself has to say is a [`Refusal`].

mod breaker;
mod exchange;
mod headers;
mod journal;
mod metrics;
mod options;
mod refusal;
mod status;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::deadline::Deadline;
use crate::metadata::RequestMetadata;
use crate::observe::TraceContext;

pub use journal::Journal;
pub use metrics::CallMetrics;
pub use options::{AllowedMethod, TargetOptions};
pub use refusal::Refusal;
pub use status::Answered;
pub use target::{Target, TargetError};

/// Metadata entries: lower-case key and value, the bytes themselves for a `-bin` key.
pub type Metadata = Vec<(String, Vec<u8>)>;

/// What a plugin asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The operator's name for the target.
    pub target: String,
    /// `/package.Service/Method`.
    pub method: String,
    /// The encoded message.
    pub message: Bytes,
    /// What the plugin adds.
    pub metadata: Metadata,
    /// How long the answer may take, within the call's deadline.
    pub timeout: Option<Duration>,
}

/// A target's OK answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The encoded message.
    pub message: Bytes,
    /// From its headers.
    pub initial: Metadata,
    /// From its trailers.
    pub trailing: Metadata,
}

/// Why there is no [`Reply`].
#[derive(Debug, Clone, PartialEq)]
pub enum Failed {
    /// The target said so.
    Answered(Box<Answered>),
    /// The host says so.
    Refused(Refusal),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The call on whose behalf a plugin asks.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The same for every attempt.
    pub call_id: &'a str,
    /// The one clock.
    pub deadline: &'a Deadline,
    /// Source of what the operator forwards.
    pub metadata: &'a RequestMetadata,
    /// The call's place in its client's trace, if it has one.
    pub trace: Option<&'a TraceContext>,
    /// Outcomes of earlier attempts.
    pub journal: &'a Journal,
}

/// What one attempt of a call has asked for so far.
#[derive(Debug, Default)]
pub struct Usage {
    calls: u32,
    reply_bytes: u64,
    diverged: bool,
}

impl Usage {
    /// Whether the attempt asked for something else than the one before it. What that one sent cannot be taken
    /// back, so the call must not commit.
    pub fn diverged(&self) -> bool {
        self.diverged
    }
}

/// Every target of a host.
#[derive(Debug, Default)]
pub struct Upstreams {
    targets: BTreeMap<String, Arc<Target>>,
}

impl Upstreams {
    /// Of targets by their names. Nothing is connected yet.
    pub fn new(targets: impl IntoIterator<Item = Target>) -> Self {
        let targets = targets.into_iter();
        Self {
            targets: targets
                .map(|target| (target.name().to_owned(), Arc::new(target)))
                .collect(),
        }
    }

    /// All of them, in the order of their names.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.values().map(Arc::as_ref)
    }

    /// What `plugin` may reach: the targets of `names` that exist, `max_calls` times in one call of its own and
    /// with at most `max_reply_bytes` of answers.
    pub fn grant<'n>(
        &self,
        plugin: &str,
        names: impl IntoIterator<Item = &'n str>,
        max_calls: u32,
        max_reply_bytes: u64,
    ) -> Granted {
        let granted = names.into_iter().filter_map(|name| self.targets.get(name));
        let reachable = granted.map(|target| {
            let reachable = Reachable {
                target: target.clone(),
                metrics: target.metrics_of(plugin),
            };
            (target.name().to_owned(), reachable)
        });
        Granted {
            targets: reachable.collect(),
            max_calls,
            max_reply_bytes,
        }
    }
}

/// A target, and what is counted of one plugin's calls to it.
#[derive(Debug)]
struct Reachable {
    target: Arc<Target>,
    metrics: Arc<CallMetrics>,
}

/// What one plugin may reach.
#[derive(Debug, Default)]
pub struct Granted {
    targets: BTreeMap<String, Reachable>,
    max_calls: u32,
    max_reply_bytes: u64,
}

impl Granted {
    /// Makes one call, or answers it as an earlier attempt of the same call was answered. Dropping the future
    /// resets the stream to the target.
    ///
    /// # Errors
    /// The target's own status, or the host's reason why there is none.
    pub async fn call(
        &self,
        request: Request,
        caller: Caller<'_>,
        usage: &mut Usage,
    ) -> Result<Reply, Failed> {
        if usage.diverged {
            return Err(Refusal::Diverged.into());
        }
        if usage.calls >= self.max_calls {
            return Err(Refusal::TooManyCalls {
                limit: self.max_calls,
            }
            .into());
        }
        let number = usage.calls;
        usage.calls += 1;
        let outcome = match caller.journal.replay(number, &request) {
            Some(Ok(outcome)) => outcome,
            Some(Err(diverged)) => {
                usage.diverged = true;
                return Err(diverged.into());
            }
            None => {
                let outcome = match self.targets.get(&request.target) {
                    Some(Reachable { target, metrics }) => {
                        target.call(&request, caller, number + 1, metrics).await
                    }
                    None => Err(Refusal::not_granted(&request.target).into()),
                };
                if caller.deadline.expired() {
                    // The call is being ended from outside: the plugin is not to make an answer of it.
                    std::future::pending::<()>().await;
                }
                caller.journal.record(number, &request, &outcome);
                outcome
            }
        };
        if let Ok(reply) = &outcome {
            usage.reply_bytes += reply.message.len() as u64;
            if usage.reply_bytes > self.max_reply_bytes {
                let limit = self.max_reply_bytes;
                return Err(Refusal::TooManyBytes { limit }.into());
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
