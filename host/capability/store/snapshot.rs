use redb::{ReadOnlyTable, ReadTransaction, StorageError, TableError};

use super::layout::{self, DataRow};
use crate::capability::Namespace;

/// The state after one commit. All transactions that begin between two batches of commits share one; the
/// committer replaces it. While one is in use, the file keeps the pages it refers to.
pub(super) struct Snapshot {
    /// The last commit it contains.
    pub(super) sequence: u64,
    pub(super) read: ReadTransaction,
}

/// A plugin's table in a snapshot.
pub(super) type DataTable = ReadOnlyTable<&'static [u8], DataRow>;

impl Snapshot {
    /// None if the plugin never wrote anything.
    pub(super) fn table(&self, namespace: &Namespace) -> Result<Option<DataTable>, StorageError> {
        self.data(namespace.as_str())
    }

    /// The host's own rows; none if there never were any.
    pub(super) fn host_table(&self) -> Result<Option<DataTable>, StorageError> {
        self.data(layout::HOST)
    }

    fn data(&self, name: &str) -> Result<Option<DataTable>, StorageError> {
        match self.read.open_table(layout::data(name)) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(TableError::Storage(error)) => Err(error),
            Err(other) => Err(StorageError::Corrupted(other.to_string())),
        }
    }
}
