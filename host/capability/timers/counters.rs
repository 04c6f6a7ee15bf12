use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::capability::Namespace;

/// What is counted of deferred calls, by plugin.
#[derive(Debug, Default)]
pub struct TimerMetrics {
    counts: Mutex<BTreeMap<Namespace, TimerCounts>>,
}

/// What was counted of one plugin's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimerCounts {
    /// Calls that were made and succeeded.
    pub fired: u64,
    /// Calls that failed, each time.
    pub failed: u64,
}

impl TimerMetrics {
    /// Those of every plugin that has had any.
    pub fn counts(&self) -> BTreeMap<Namespace, TimerCounts> {
        self.counts.lock().clone()
    }

    pub(super) fn fired(&self, plugin: &Namespace) {
        self.count(plugin, |counts| counts.fired += 1);
    }

    pub(super) fn failed(&self, plugin: &Namespace) {
        self.count(plugin, |counts| counts.failed += 1);
    }

    fn count(&self, plugin: &Namespace, add: impl FnOnce(&mut TimerCounts)) {
        let mut counts = self.counts.lock();
        match counts.get_mut(plugin) {
            Some(counts) => add(counts),
            None => add(counts.entry(plugin.clone()).or_default()),
        }
    }
}
