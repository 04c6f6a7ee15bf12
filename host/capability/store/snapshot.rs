use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::backend::{Between, ReadError, Reader, Rows, Table};
use super::deferred::Levels;
use super::scan::{Direction, Entry};
use super::usage::{Usage, UsageByPlugin};
use crate::capability::Namespace;

/// The state after one commit. All transactions that begin between two batches of commits share one; the
/// committer replaces it. While one is in use, the database keeps what it refers to.
pub(super) struct Snapshot {
    /// The last commit it contains.
    pub(super) sequence: u64,
    /// What each plugin keeps in it.
    pub(super) usage: UsageByPlugin,
    /// How much is deferred in it.
    pub(super) deferred: Levels,
    pub(super) reader: Box<dyn Reader>,
}

impl Snapshot {
    /// What a plugin keeps.
    pub(super) fn usage_of(&self, namespace: &Namespace) -> Usage {
        self.usage.get(namespace).copied().unwrap_or_default()
    }

    /// The size of the value under `key`; none if there is none.
    pub(super) fn value_bytes(&self, namespace: &Namespace, key: &[u8]) -> Result<Option<usize>, ReadError> {
        match self.rows(namespace)? {
            Some(rows) => rows.value_bytes(key),
            None => Ok(None),
        }
    }

    /// A plugin's entries; none if it never wrote anything.
    pub(super) fn rows(&self, namespace: &Namespace) -> Result<Option<Arc<dyn Rows>>, ReadError> {
        self.reader.rows(Table::Plugin(namespace))
    }

    /// One of the host's own rows.
    pub(super) fn host_row(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let Some(rows) = self.reader.rows(Table::Host)? else {
            return Ok(None);
        };
        Ok(rows.get(key)?.map(|row| row.value))
    }

    /// The first `limit` of them between two keys.
    pub(super) fn host_rows(&self, between: Between<'_>, limit: usize) -> Result<Vec<Entry>, ReadError> {
        let mut found = Vec::new();
        if let Some(rows) = self.reader.rows(Table::Host)?
            && limit > 0
        {
            rows.scan(between, Direction::Ascending, &mut |entry| {
                found.push(entry);
                match found.len() < limit {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })?;
        }
        Ok(found)
    }
}
