use redb::{ReadOnlyTable, ReadTransaction, StorageError, TableError};

use super::deferred::Levels;
use super::layout::{self, DataRow};
use super::usage::{Usage, UsageByPlugin};
use crate::capability::Namespace;

/// The state after one commit. All transactions that begin between two batches of commits share one; the
/// committer replaces it. While one is in use, the file keeps the pages it refers to.
pub(super) struct Snapshot {
    /// The last commit it contains.
    pub(super) sequence: u64,
    /// What each plugin keeps in it.
    pub(super) usage: UsageByPlugin,
    /// How much is deferred in it.
    pub(super) deferred: Levels,
    pub(super) read: ReadTransaction,
}

/// A plugin's table in a snapshot.
pub(super) type DataTable = ReadOnlyTable<&'static [u8], DataRow>;

impl Snapshot {
    /// What a plugin keeps.
    pub(super) fn usage_of(&self, namespace: &Namespace) -> Usage {
        self.usage.get(namespace).copied().unwrap_or_default()
    }

    /// The size of the value under `key`; none if there is none.
    pub(super) fn value_bytes(
        &self,
        namespace: &Namespace,
        key: &[u8],
    ) -> Result<Option<usize>, StorageError> {
        let Some(table) = self.table(namespace)? else {
            return Ok(None);
        };
        Ok(table.get(key)?.map(|row| row.value().1.len()))
    }

    /// The host's own rows.
    pub(super) fn host_table(&self) -> Result<DataTable, TableError> {
        self.read.open_table(layout::HOST)
    }

    /// None if the plugin never wrote anything.
    pub(super) fn table(&self, namespace: &Namespace) -> Result<Option<DataTable>, StorageError> {
        match self.read.open_table(layout::data(namespace.as_str())) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(TableError::Storage(error)) => Err(error),
            Err(other) => Err(StorageError::Corrupted(other.to_string())),
        }
    }
}
