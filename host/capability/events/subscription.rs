use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{Delivery, Event, Sink, SinkError};
use crate::capability::Namespace;
use crate::capability::caller::{Backoff, Caller, HostCall, NotMade};
use crate::capability::store::{CallId, DeferredCall, DeferredCalls, Errand, EventHeader, Store};
use crate::observe::metrics::Counter;

/// How many deliveries into plugins may lead from one to the next: what is published in the last of them is
/// delivered to no plugin any more, but becomes a dead letter.
pub const MAX_HOPS: u32 = 8;

/// While the host cannot make a call at all, because the plugin is not loaded yet for instance.
const NOT_NOW: Backoff = Backoff {
    min: Duration::from_millis(50),
    max: Duration::from_secs(1),
};

/// Which events go to which method.
#[derive(Debug, Clone)]
pub struct SubscriptionOptions {
    /// The operator's name for it.
    pub name: String,
    /// Of these topics.
    pub topics: Vec<TopicPattern>,
    /// Whom they go to.
    pub plugin: Namespace,
    /// `/package.Service/Method`.
    pub method: String,
    /// Calls at once, each with an event of another key.
    pub max_concurrent: usize,
    /// How often an event is tried before it is given up.
    pub max_attempts: u32,
    /// How long a call may take, where the operator set no deadline for its method.
    pub timeout: Duration,
    /// Between attempts.
    pub backoff: Backoff,
}

impl SubscriptionOptions {
    /// Between attempts, where nothing else is said.
    pub const BACKOFF: Backoff = Backoff {
        min: Duration::from_millis(100),
        max: Duration::from_secs(10),
    };
}

/// `order.created`; `order.*` for all topics that begin with `order.`; `*` for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern {
    prefix: String,
    whole: bool,
}

impl TopicPattern {
    /// None if it could match nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, whole) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, false),
            None => (text, true),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let ends_well = !whole || !prefix.is_empty();
        let valid = prefix.chars().all(allowed) && ends_well && prefix.len() <= 256;
        let prefix = prefix.to_owned();
        valid.then_some(Self { prefix, whole })
    }

    fn matches(&self, topic: &str) -> bool {
        if self.whole {
            topic == self.prefix
        } else {
            topic.starts_with(&self.prefix)
        }
    }
}

/// Delivers events into another plugin's unary method: an event's payload is the request.
///
/// That an event was delivered commits with what the consumer writes, so its effect is there exactly once.
/// Events of one key come one after another, those of different keys at the same time. One whose call fails
/// is tried again, and holds back those of its key, and all that follow the batch; when it was tried often
/// enough it becomes a dead letter, and the others go on.
#[derive(Debug)]
pub struct Subscription {
    worker: Arc<Worker>,
}

/// What is counted of a subscription.
#[derive(Debug, Default)]
pub struct SubscriptionMetrics {
    /// Events whose call succeeded.
    pub delivered: Counter,
    /// Calls that failed.
    pub failed: Counter,
}

struct Worker {
    options: SubscriptionOptions,
    sink: Arc<str>,
    method: Arc<str>,
    calls: DeferredCalls,
    caller: Arc<dyn Caller>,
    turns: Semaphore,
    stopping: watch::Receiver<bool>,
    metrics: Arc<SubscriptionMetrics>,
}

impl Subscription {
    /// Delivers until `stopping` turns true; then it makes no further call.
    pub fn new(
        store: &Store,
        caller: Arc<dyn Caller>,
        options: SubscriptionOptions,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let worker = Worker {
            // Other sinks have no such character in their names.
            sink: format!("subscription/{}", options.name).into(),
            method: options.method.as_str().into(),
            calls: store.deferred(),
            caller,
            turns: Semaphore::new(options.max_concurrent),
            stopping,
            metrics: Arc::default(),
            options,
        };
        Self {
            worker: Arc::new(worker),
        }
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<SubscriptionMetrics> {
        self.worker.metrics.clone()
    }
}

impl Sink for Subscription {
    fn name(&self) -> &str {
        &self.worker.sink
    }

    fn deliver<'a>(&'a mut self, events: &'a [Event]) -> Delivery<'a> {
        Box::pin(async move {
            let topics = &self.worker.options.topics;
            let wanted = |event: &&Event| topics.iter().any(|topic| topic.matches(&event.topic));
            let mut keys: BTreeMap<_, Vec<Event>> = BTreeMap::new();
            for event in events.iter().filter(wanted) {
                let key = (&*event.plugin, &*event.key);
                keys.entry(key).or_default().push(event.clone());
            }
            let mut tasks = JoinSet::new();
            for (_, events) in keys {
                let worker = self.worker.clone();
                tasks.spawn(async move { worker.in_order(events).await });
            }
            let mut outcome = Ok(());
            // All of them, so that calls under way come to their end when the host is stopping.
            while let Some(ended) = tasks.join_next().await {
                let ended = ended.unwrap_or_else(|panic| Err(SinkError(panic.to_string())));
                outcome = outcome.and(ended);
            }
            outcome
        })
    }
}

impl Worker {
    /// Delivers the events of one key.
    async fn in_order(&self, events: Vec<Event>) -> Result<(), SinkError> {
        for event in events {
            self.settle(&event).await?;
        }
        Ok(())
    }

    /// Tries until the event is delivered or given up.
    async fn settle(&self, event: &Event) -> Result<(), SinkError> {
        if event.hops >= MAX_HOPS {
            let error =
                format!("{MAX_HOPS} deliveries from plugin to plugin led to it, the most there may be");
            return self.give_up(event, 0, &error).await;
        }
        let (mut failures, mut delays) = (0, 0);
        loop {
            let error = match self.attempt(event).await? {
                Ok(()) => {
                    self.metrics.delivered.increment();
                    return Ok(());
                }
                Err(NotMade::NotNow(error)) => {
                    delays += 1;
                    tracing::debug!(
                        subscription = self.options.name,
                        id = event.id(),
                        error,
                        "not yet"
                    );
                    self.pause(NOT_NOW.pause(delays)).await?;
                    continue;
                }
                Err(NotMade::Failed(error)) => error,
            };
            failures += 1;
            self.metrics.failed.increment();
            if failures >= self.options.max_attempts {
                return self.give_up(event, failures, &error).await;
            }
            if failures == 1 {
                tracing::warn!(
                    subscription = self.options.name,
                    id = event.id(),
                    error,
                    "an event was not delivered; trying again"
                );
            }
            self.pause(self.options.backoff.pause(failures)).await?;
        }
    }

    async fn attempt(&self, event: &Event) -> Result<Result<(), NotMade>, SinkError> {
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|_| stopping())?;
        if *self.stopping.borrow() {
            return Err(stopping());
        }
        let call = HostCall {
            plugin: self.options.plugin.clone(),
            method: self.method.clone(),
            request: event.payload.clone(),
            event: Some(Arc::new(self.header(event))),
            hops: event.hops + 1,
            errand: self.errand(event),
            timeout: self.options.timeout,
        };
        Ok(self.caller.call(call).await)
    }

    async fn give_up(&self, event: &Event, failures: u32, error: &str) -> Result<(), SinkError> {
        let letter = DeferredCall {
            id: CallId::random(),
            plugin: self.options.plugin.clone(),
            method: self.options.method.clone(),
            request: event.payload.clone(),
            due: SystemTime::now(),
            failures,
            last_error: error.to_owned(),
            hops: event.hops + 1,
            event: Some(self.header(event)),
        };
        let given_up = self.calls.give_up(&self.errand(event), letter).await;
        if given_up.map_err(|error| SinkError(error.to_string()))? {
            tracing::error!(
                subscription = self.options.name,
                id = event.id(),
                failures,
                error,
                "an event was given up; `mortise events list` has it"
            );
        }
        Ok(())
    }

    async fn pause(&self, pause: Duration) -> Result<(), SinkError> {
        let mut stopped = self.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            _ = stopped.wait_for(|stopped| *stopped) => Err(stopping()),
        }
    }

    fn errand(&self, event: &Event) -> Errand {
        Errand::Event {
            sink: self.sink.clone(),
            position: event.position,
        }
    }

    fn header(&self, event: &Event) -> EventHeader {
        EventHeader {
            id: event.id(),
            source: event.plugin.clone(),
            topic: event.topic.clone(),
            key: event.key.clone(),
            time: event.time,
            subscription: self.options.name.clone(),
        }
    }
}

fn stopping() -> SinkError {
    SinkError("the host is stopping".into())
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::TopicPattern;

    #[test]
    fn topics_match_as_a_whole_or_by_their_beginning() {
        for (pattern, topic, matches) in [
            ("order.created", "order.created", true),
            ("order.created", "order.created2", false),
            ("order.*", "order.created", true),
            ("order.*", "orders.created", false),
            ("*", "anything", true),
        ] {
            let parsed = TopicPattern::parse(pattern).expect("valid");
            assert_eq!(parsed.matches(topic), matches, "{pattern} {topic}");
        }
        for bad in ["", "a b", "a*b", "**", "é", &"a".repeat(257)] {
            assert_eq!(TopicPattern::parse(bad), None, "{bad}");
        }
    }
}
