use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::queue::Request;
use super::submission::{CommitError, Outcome};
use super::{Health, Store};
use crate::capability::Error;

/// The longest topic, in bytes.
const MAX_TOPIC_BYTES: usize = 256;

/// An event on its way into the outbox.
#[derive(Debug)]
pub(super) struct StagedEvent {
    topic: Box<str>,
    key: Box<str>,
    payload: Bytes,
}

impl StagedEvent {
    pub(super) fn new(topic: &str, key: &str, payload: Bytes) -> Result<Self, Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if topic.is_empty() || topic.len() > MAX_TOPIC_BYTES || !topic.chars().all(allowed) {
            return Err(Error::invalid(format!(
                "an event's topic must be 1 to {MAX_TOPIC_BYTES} ASCII letters, digits, '.', '-' or '_'"
            )));
        }
        Ok(Self {
            topic: topic.into(),
            key: key.into(),
            payload,
        })
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn payload(&self) -> &Bytes {
        &self.payload
    }

    pub(super) fn bytes(&self) -> usize {
        event_bytes(&self.topic, &self.key, &self.payload)
    }
}

/// Where an event stands in the order of all events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The commit that published it.
    pub sequence: u64,
    /// Its index among the events of that commit.
    pub index: u32,
}

/// A durable event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the order of all events of this store.
    pub position: Position,
    /// When its commit was accepted.
    pub time: SystemTime,
    /// How many deliveries of events into plugins led to it; 0 if a client's call published it.
    pub hops: u32,
    /// The plugin that published it.
    pub plugin: String,
    /// What kind of event it is, by the plugin's naming.
    pub topic: String,
    /// What it is about; events of one key are delivered in order.
    pub key: String,
    /// The plugin's own bytes.
    pub payload: Bytes,
}

impl Event {
    /// The same for every delivery of this event, and different from that of any other event of this store.
    pub fn id(&self) -> String {
        format!(
            "{}-{}-{}",
            self.plugin, self.position.sequence, self.position.index
        )
    }

    pub(super) fn bytes(&self) -> usize {
        event_bytes(&self.topic, &self.key, &self.payload)
    }
}

/// What an event counts against the bounds of a call and of the outbox.
pub(super) fn event_bytes(topic: &str, key: &str, payload: &[u8]) -> usize {
    topic.len() + key.len() + payload.len()
}

/// The durable events that wait for delivery. Each sink has a durable cursor of its own; an event leaves the
/// outbox when every attached sink has acknowledged it.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    store: Store,
}

impl Outbox {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Declares which sinks there are. A new one begins with the oldest event still in the outbox; the
    /// cursor of one that is gone is forgotten, so that it holds nothing back.
    pub(crate) async fn attach(&self, sinks: Vec<Arc<str>>) -> Result<(), CommitError> {
        self.request(|outcome| Request::Attach { sinks, outcome }).await
    }

    /// The last event that `sink` acknowledged; the default if none.
    pub(crate) fn cursor(&self, sink: &str) -> Result<Position, Error> {
        let shared = &self.store.shared;
        let cursor = shared.durable_snapshot()?.reader.cursor(sink);
        cursor.map_err(|e| shared.read_failed(&e))
    }

    /// The events after `position` in order: at most `max_events`, and no more after the one that brings
    /// their bytes to `max_bytes`.
    pub(crate) fn after(
        &self,
        position: Position,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<Event>, Error> {
        let shared = &self.store.shared;
        let mut events = Vec::new();
        let mut bytes = 0;
        if max_events == 0 {
            return Ok(events);
        }
        let read = shared.durable_snapshot()?.reader.events(position, &mut |event| {
            bytes += event.bytes();
            events.push(event);
            match events.len() < max_events && bytes < max_bytes {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        read.map_err(|e| shared.read_failed(&e))?;
        Ok(events)
    }

    /// Records that `sink` has every event up to and including `through`, as durably as a relaxed commit.
    pub(crate) async fn advance(&self, sink: Arc<str>, through: Position) -> Result<(), CommitError> {
        self.request(|outcome| Request::Advance {
            sink,
            through,
            outcome,
        })
        .await
    }

    /// Whether the store is closed for good. One that has failed may come back.
    pub(crate) fn is_closed(&self) -> bool {
        self.store.health() == Health::Closed
    }

    /// Changes whenever events have become durable, and when the store ends, fails or is opened anew.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.store.shared.published.subscribe()
    }

    async fn request(
        &self,
        request: impl FnOnce(oneshot::Sender<Outcome>) -> Request,
    ) -> Result<(), CommitError> {
        let (sender, outcome) = oneshot::channel();
        self.store.queue.send(request(sender))?;
        let failed = CommitError::Unavailable("the store has failed");
        outcome.await.unwrap_or(Err(failed)).map(|_| ())
    }
}
