use std::collections::BTreeMap;
use std::sync::Arc;

use crate::capability::store::snapshot::Snapshot;
use crate::capability::store::usage::Usage;
use crate::capability::store::{Access, Store, Transaction};
use crate::capability::{Error, Namespace};

/// One state of the store, to be read for as long as it takes. While it is there, the file keeps what that
/// state refers to.
#[derive(Clone)]
pub struct View {
    pub(super) store: Store,
    pub(super) snapshot: Arc<Snapshot>,
}

/// What is in a store.
#[derive(Debug, Clone)]
pub struct Stats {
    /// The highest number that a commit may have.
    pub sequence: u64,
    /// What each plugin keeps.
    pub usage: BTreeMap<Namespace, Usage>,
    /// The size of the file; none if the store is in memory.
    pub file_bytes: Option<u64>,
    /// Events that wait for delivery.
    pub undelivered: u64,
    /// The same in bytes.
    pub undelivered_bytes: u64,
}

impl Store {
    /// The state that is on the disk now.
    ///
    /// # Errors
    /// If the store is not available.
    pub fn view(&self) -> Result<View, Error> {
        Ok(View {
            snapshot: self.shared.durable_snapshot()?,
            store: self.clone(),
        })
    }
}

impl View {
    /// A transaction that reads a plugin's part of this state, and cannot write.
    ///
    /// # Errors
    /// If the store is not available.
    pub fn read(&self, namespace: &Namespace) -> Result<Transaction, Error> {
        let mut transaction = self.store.begin(namespace, Access::ReadOnly);
        transaction.pin(self.snapshot.clone())?;
        Ok(transaction)
    }

    /// What is in it.
    pub fn stats(&self) -> Stats {
        let metrics = self.store.metrics();
        Stats {
            sequence: self.snapshot.sequence,
            usage: self.snapshot.usage.clone(),
            file_bytes: self.store.file_bytes(),
            undelivered: metrics.undelivered.value(),
            undelivered_bytes: metrics.undelivered_bytes.value(),
        }
    }
}
