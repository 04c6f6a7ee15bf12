use super::{Delivery, Event, Sink};
use crate::observe::printable;

/// Of a key; the store takes longer ones.
const MAX_KEY_BYTES: usize = 256;

/// Writes a line per event to the host's log, without the payload: its content is the plugin's business.
#[derive(Debug, Default)]
pub struct Log;

impl Sink for Log {
    fn name(&self) -> &str {
        "log"
    }

    fn deliver<'a>(&'a mut self, events: &'a [Event]) -> Delivery<'a> {
        Box::pin(async move {
            for event in events {
                let key = printable(&event.key, MAX_KEY_BYTES);
                tracing::info!(
                    target: "mortise::events",
                    id = event.id(),
                    plugin = event.plugin,
                    topic = event.topic,
                    key,
                    payload_bytes = event.payload.len(),
                    "event"
                );
                // A batch takes milliseconds to write, on a thread that serves calls.
                tokio::task::yield_now().await;
            }
            Ok(())
        })
    }
}
