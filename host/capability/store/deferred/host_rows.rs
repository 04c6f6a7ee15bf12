use std::collections::BTreeMap;

use bytes::Bytes;

use super::levels::{Amount, Change};
use crate::capability::store::read_set::ReadSet;
use crate::capability::store::transaction::Write;

/// What a transaction reads and writes of the host's own rows.
#[derive(Debug, Default)]
pub(in crate::capability::store) struct HostRows {
    /// Validated at the commit, also where the plugin's own reads are not.
    pub(in crate::capability::store) reads: ReadSet,
    pub(in crate::capability::store) writes: BTreeMap<Bytes, Write>,
    /// Of what the plugin has pending.
    pub(super) pending: Change,
    pub(super) dead: Change,
    /// Whether something may be due sooner than before.
    pub(in crate::capability::store) schedules: bool,
    /// Whether the host goes by it as soon as it is acknowledged, so that it must be on the disk then,
    /// however relaxed the plugin is.
    pub(in crate::capability::store) durable: bool,
    bytes: usize,
}

impl HostRows {
    /// What was accepted before: all that is left of it is what it writes.
    pub(in crate::capability::store) fn of(writes: BTreeMap<Bytes, Write>) -> Self {
        Self {
            writes,
            ..Self::default()
        }
    }

    pub(in crate::capability::store) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// What it counts against the bounds of the commit queue.
    pub(in crate::capability::store) fn bytes(&self) -> usize {
        self.bytes + self.reads.bytes()
    }

    /// Timers that the call has scheduled.
    pub(super) fn scheduled(&self) -> Amount {
        self.pending.added
    }

    pub(super) fn put(&mut self, key: Bytes, value: Bytes) {
        self.bytes += key.len() + value.len();
        self.writes.insert(key, Write::Put(value));
    }

    pub(super) fn delete(&mut self, key: Bytes) {
        self.bytes += key.len();
        self.writes.insert(key, Write::Delete);
    }
}
