use super::{Delivery, Event, Sink};

/// Writes a line per event to the host's log, without the payload: its content is the plugin's business.
#[derive(Debug, Default)]
pub struct Log;

impl Sink for Log {
    fn name(&self) -> &str {
        "log"
    }

    fn deliver<'a>(&'a mut self, events: &'a [Event]) -> Delivery<'a> {
        for event in events {
            // The key is the guest's text: bounded by the store, and escaped by its debug form.
            tracing::info!(
                target: "mortise::events",
                id = event.id(),
                plugin = event.plugin,
                topic = event.topic,
                key = ?event.key,
                payload_bytes = event.payload.len(),
                "event"
            );
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
