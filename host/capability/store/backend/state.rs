use std::collections::BTreeMap;
use std::sync::Arc;

use crate::capability::store::deferred::acknowledged;
use crate::capability::store::outbox::Position;
use crate::capability::store::usage::UsageByPlugin;

/// What is known of a database without reading it. It runs ahead of the database while a batch is being made
/// durable. When that fails, both are given up, and another begins with what is there: nothing is ever taken
/// back.
#[derive(Debug, Clone, Default)]
pub(in crate::capability::store) struct State {
    /// The last commit.
    pub(in crate::capability::store) sequence: u64,
    /// Events that wait for delivery.
    pub(in crate::capability::store) outbox_entries: u64,
    /// The same in bytes.
    pub(in crate::capability::store) outbox_bytes: u64,
    /// Per sink, the last event it acknowledged.
    pub(in crate::capability::store) cursors: BTreeMap<Arc<str>, Position>,
    pub(in crate::capability::store) usage: UsageByPlugin,
    /// When the oldest answer was recorded.
    pub(in crate::capability::store) oldest_answer: Option<u64>,
}

impl State {
    /// Whether the host's row under `key` acknowledges an event that its sink's cursor has passed, or of a sink
    /// that is gone.
    pub(in crate::capability::store) fn has_passed(&self, key: &[u8]) -> bool {
        let Some((sink, position)) = acknowledged(key) else {
            return true;
        };
        self.cursors.get(sink).is_none_or(|cursor| position <= *cursor)
    }

    /// Events up to here are every sink's; none if there is no sink.
    pub(in crate::capability::store) fn delivered(&self) -> Option<Position> {
        self.cursors.values().min().copied()
    }
}
