use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, Range};

use super::{DeferredBounds, HostRows, rows};
use crate::capability::Namespace;
use crate::capability::store::backend::{ReadError, Reader, Table};
use crate::capability::store::scan::{Direction, Entry};

/// How many there are of something, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
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
pub(super) struct Change {
    pub(super) added: Amount,
    pub(super) removed: Amount,
}

impl Change {
    fn grows(&self) -> bool {
        self.added.count > self.removed.count || self.added.bytes > self.removed.bytes
    }

    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How much is pending and how much is dead.
#[derive(Debug, Clone, Default)]
pub(in crate::capability::store) struct Levels {
    /// Of every plugin that has anything pending.
    pending: BTreeMap<Namespace, Amount>,
    dead: Amount,
}

impl Levels {
    /// Counts what is there.
    pub(in crate::capability::store) fn read(reader: &dyn Reader) -> Result<Self, ReadError> {
        let mut levels = Self::default();
        each(reader, rows::DUE, |row| {
            if let Some((plugin, bytes)) = rows::pending_bytes(&row.key, &row.value) {
                levels.pending.entry(plugin).or_default().add(bytes);
            }
        })?;
        each(reader, rows::DEAD, |row| levels.dead.add(row.value.len()))?;
        Ok(levels)
    }

    /// Whether what `plugin`'s transaction defers finds room among what it has pending.
    pub(in crate::capability::store) fn have_room(
        &self,
        plugin: &Namespace,
        rows: &HostRows,
        bounds: &DeferredBounds,
    ) -> bool {
        let fits = |pending: Amount| {
            pending.count <= bounds.max_pending && pending.bytes <= bounds.max_pending_bytes
        };
        !rows.pending.grows() || fits(self.pending_of(plugin).after(&rows.pending))
    }

    /// Takes the changes of a transaction that is accepted.
    pub(in crate::capability::store) fn apply(&mut self, plugin: &Namespace, rows: &HostRows) {
        if !rows.pending.is_none() {
            let now = self.pending_of(plugin).after(&rows.pending);
            if now.count == 0 {
                self.pending.remove(plugin);
            } else {
                self.pending.insert(plugin.clone(), now);
            }
        }
        self.dead = self.dead.after(&rows.dead);
    }

    pub(in crate::capability::store) fn pending(&self) -> &BTreeMap<Namespace, Amount> {
        &self.pending
    }

    pub(super) fn pending_of(&self, plugin: &Namespace) -> Amount {
        self.pending.get(plugin).copied().unwrap_or_default()
    }

    pub(super) fn dead(&self) -> Amount {
        self.dead
    }
}

/// Counts again what each plugin has pending, from the calls themselves.
pub(in crate::capability::store) fn recount_pending(
    reader: &dyn Reader,
) -> Result<BTreeMap<Namespace, Amount>, ReadError> {
    let mut pending: BTreeMap<_, Amount> = BTreeMap::new();
    each(reader, rows::CALLS, |row| {
        if let Some(plugin) = rows::plugin_of(&row.key) {
            pending.entry(plugin).or_default().add(row.value.len());
        }
    })?;
    Ok(pending)
}

/// Visits the host's own rows in a range.
fn each(reader: &dyn Reader, range: Range<&[u8]>, mut visit: impl FnMut(Entry)) -> Result<(), ReadError> {
    let Some(rows) = reader.rows(Table::Host)? else {
        return Ok(());
    };
    let between = (Bound::Included(range.start), Bound::Excluded(range.end));
    rows.scan(between, Direction::Ascending, &mut |row| {
        visit(row);
        ControlFlow::Continue(())
    })
}
