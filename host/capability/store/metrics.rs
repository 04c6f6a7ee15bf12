use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::capability::Namespace;
use crate::observe::metrics::{Counter, Durations, Gauge, Numbers};

/// What a store counts. All but the queue is written by the committer alone.
#[derive(Debug, Default)]
pub struct StoreMetrics {
    /// Transactions that were committed.
    pub commits: Counter,
    /// Transactions that met a conflict.
    pub conflicts: Counter,
    /// From submitting a transaction to its being durable.
    pub commit_seconds: Durations,
    /// Of making a group of transactions durable.
    pub group_seconds: Durations,
    /// Transactions in a group.
    pub group_commits: Numbers,
    /// Memory for the keys that find conflicts.
    pub conflict_log_bytes: Gauge,
    /// What is in the log.
    pub log_bytes: Gauge,
    /// Events that wait for delivery.
    pub undelivered: Gauge,
    /// The same in bytes.
    pub undelivered_bytes: Gauge,
    /// Calls that were given up.
    pub dead_letters: Counter,
    /// Those of them that made way for newer ones.
    pub dead_letters_dropped: Counter,
    published: Mutex<BTreeMap<Namespace, u64>>,
}

impl StoreMetrics {
    pub(super) fn count_published(&self, plugin: &Namespace, events: usize) {
        let mut published = self.published.lock();
        match published.get_mut(plugin) {
            Some(count) => *count += events as u64,
            None => drop(published.insert(plugin.clone(), events as u64)),
        }
    }

    /// Events that were committed, by the plugin that published them.
    pub fn published(&self) -> BTreeMap<Namespace, u64> {
        self.published.lock().clone()
    }
}
