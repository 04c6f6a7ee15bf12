//! What each plugin keeps in the store, counted exactly and in the same transactions.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::layout::{self, UsageRow};
use crate::capability::Namespace;

/// What one plugin keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys in its table.
    pub keys: u64,
    /// Bytes of those keys and their values.
    pub bytes: u64,
    /// Answers recorded under idempotency keys.
    pub answers: u64,
    /// Bytes of those answers, with what it costs to find and to expire each.
    pub answer_bytes: u64,
}

impl Usage {
    pub(super) fn row(self) -> UsageRow {
        (self.keys, self.bytes, self.answers, self.answer_bytes)
    }

    pub(super) fn from_row((keys, bytes, answers, answer_bytes): UsageRow) -> Self {
        Self {
            keys,
            bytes,
            answers,
            answer_bytes,
        }
    }
}

/// That of every plugin that ever wrote something.
pub(super) type UsageByPlugin = BTreeMap<Namespace, Usage>;

/// What the file says.
pub(super) fn read(transaction: &ReadTransaction) -> Result<UsageByPlugin, redb::Error> {
    let table = transaction.open_table(layout::USAGE)?;
    let rows = table.iter()?.map(|row| {
        let (plugin, usage) = row?;
        let plugin = Namespace::new(plugin.value())
            .map_err(|error| redb::StorageError::Corrupted(error.to_string()))?;
        Ok((plugin, Usage::from_row(usage.value())))
    });
    rows.collect()
}

pub(super) fn write<'n>(
    transaction: &WriteTransaction,
    usage: &UsageByPlugin,
    changed: impl IntoIterator<Item = &'n Namespace>,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(layout::USAGE)?;
    for plugin in changed {
        let usage = usage.get(plugin).copied().unwrap_or_default();
        table.insert(plugin.as_str(), usage.row())?;
    }
    Ok(())
}
