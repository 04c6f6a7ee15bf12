//! Delivery of committed events.
//!
//! Publishing is part of a transaction: see [`Transaction::publish`](super::store::Transaction::publish). The
//! [`Relay`] reads only what is durable and hands it to every [`Sink`] in the order of the commits, at least
//! once: after a crash a sink may get again what it had not acknowledged durably, with the same ids.

mod base64;
mod json_lines;
mod log;
mod relay;
mod subscription;

use std::future::Future;
use std::pin::Pin;

pub use super::store::{Event, Position};
pub use json_lines::JsonLines;
pub use log::Log;
pub use relay::{Progress, Relay, RelayError, RelayOptions, SinkStatus};
pub use subscription::{MAX_HOPS, Subscription, SubscriptionMetrics, SubscriptionOptions, TopicPattern};

/// A place where events go.
///
/// Each sink has a task and a durable cursor of its own: one that fails delays nobody but itself, until the
/// outbox is full.
///
/// A sink for a message broker fits in here. For NATS JetStream: one subject for each topic, say
/// `mortise.PLUGIN.TOPIC`, and the CloudEvents attributes as headers; `deliver` publishes the batch without
/// waiting between the messages, each with the event's id as `Nats-Msg-Id`, and returns `Ok` when every one
/// has its `PubAck`, or an error after a time-out. JetStream drops what comes twice within its
/// `duplicate_window`, by that id, so that a batch that is repeated is there once; it keeps the order in
/// which one connection publishes to a stream, so that of a key is kept, as long as the batch is published
/// anew from its beginning after an error. Kafka fits in the same way, with the event's key as the message's
/// and an idempotent producer.
pub trait Sink: Send + 'static {
    /// Names the durable cursor, so it must stay the same over restarts and differ from the other sinks'.
    fn name(&self) -> &str;

    /// Delivers `events`, which are in order, and returns when they are safe there. After an error, or a
    /// crash, the same events come again, perhaps more of them. It must give up in bounded time, because the
    /// host waits for it before it ends.
    fn deliver<'a>(&'a mut self, events: &'a [Event]) -> Delivery<'a>;
}

/// The outcome of [`Sink::deliver`].
pub type Delivery<'a> = Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + 'a>>;

/// Why a sink did not take events, for the operator's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);
