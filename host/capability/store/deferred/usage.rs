use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::DeferredBounds;
use crate::capability::Namespace;

/// How many there are of something, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Usage {
    pub(super) fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }

    fn after(self, change: &Change) -> Self {
        Self {
            count: (self.count + change.added.count).saturating_sub(change.removed.count),
            bytes: (self.bytes + change.added.bytes).saturating_sub(change.removed.bytes),
        }
    }
}

/// What a transaction adds and takes away. Exact, because what it takes away it has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::capability::store) struct Change {
    pub(super) added: Usage,
    pub(super) removed: Usage,
}

impl Change {
    fn grows(&self) -> bool {
        self.added.count > self.removed.count || self.added.bytes > self.removed.bytes
    }

    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How much is pending and how much is dead, after the last commit that was accepted. The committer changes it;
/// others read.
#[derive(Debug, Default)]
pub(in crate::capability::store) struct Levels {
    pending: Mutex<BTreeMap<Namespace, Usage>>,
    dead: Mutex<Usage>,
}

impl Levels {
    /// What was found in the file.
    pub(in crate::capability::store) fn found(&self, plugin: Option<Namespace>, bytes: u64) {
        match plugin {
            Some(plugin) => self.pending.lock().entry(plugin).or_default().add(bytes as usize),
            None => self.dead.lock().add(bytes as usize),
        }
    }

    /// Whether what a transaction defers finds room among what `plugin` has pending.
    pub(in crate::capability::store) fn has_room(
        &self,
        plugin: &Namespace,
        pending: &Change,
        bounds: &DeferredBounds,
    ) -> bool {
        let after = || self.pending_of(plugin).after(pending);
        let fits =
            |usage: Usage| usage.count <= bounds.max_pending && usage.bytes <= bounds.max_pending_bytes;
        !pending.grows() || fits(after())
    }

    /// Takes the changes of a transaction that is accepted.
    pub(in crate::capability::store) fn apply(&self, plugin: &Namespace, pending: &Change, dead: &Change) {
        if !pending.is_none() {
            let mut all = self.pending.lock();
            let now = all.get(plugin).copied().unwrap_or_default().after(pending);
            if now.count == 0 {
                all.remove(plugin);
            } else {
                all.insert(plugin.clone(), now);
            }
        }
        if !dead.is_none() {
            let mut all = self.dead.lock();
            *all = all.after(dead);
        }
    }

    pub(in crate::capability::store) fn pending(&self) -> BTreeMap<Namespace, Usage> {
        self.pending.lock().clone()
    }

    pub(super) fn pending_of(&self, plugin: &Namespace) -> Usage {
        self.pending.lock().get(plugin).copied().unwrap_or_default()
    }

    pub(in crate::capability::store) fn dead(&self) -> Usage {
        *self.dead.lock()
    }
}
