//! Delivery of committed events.
//!
//! Publishing is part of a transaction: see [`Transaction::publish`](super::store::Transaction::publish). The
//! [`Relay`] reads only what is durable and hands it to every [`Sink`] in the order of the commits, at least
//! once: after a crash a sink may get again what it had not acknowledged durably, with the same ids.

mod base64;
mod json_lines;
mod log;
mod relay;

use std::future::Future;
use std::pin::Pin;

pub use super::store::{Event, Position};
pub use json_lines::JsonLines;
pub use log::Log;
pub use relay::{Progress, Relay, RelayError, RelayOptions, SinkStatus};

/// A place where events go.
///
/// Each sink has a task and a durable cursor of its own: one that fails delays nobody but itself, until the
/// outbox is full.
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
