use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::answers::StagedAnswer;
use super::backend::Rows;
use super::deferred::HostRows;
use super::options::PluginOptions;
use super::outbox::StagedEvent;
use super::quota::Budget;
use super::read_set::{ReadSet, Rewritten};
use super::snapshot::Snapshot;
use super::{Shared, unavailable};
use crate::capability::{Error, Namespace};

/// Whether a call may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads are remembered for validation, writes are staged.
    ReadWrite,
    /// Writes are refused, nothing is remembered, and there is nothing to commit.
    ReadOnly,
}

/// A value and the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// The sequence number of the commit that wrote it; 0 if this transaction did.
    pub version: u64,
}

/// Everything that one attempt of one call does to its plugin's state.
///
/// Reads come from one snapshot, pinned by the first read, and from the transaction's own writes. Writes and
/// events are staged in memory until [`Store::commit`](super::Store::commit); dropping the transaction
/// discards them. Each read is bounded by [`Bounds`](super::Bounds). It runs on the calling thread, but for
/// what is asynchronous, of which only the first part does.
pub struct Transaction {
    pub(super) store: Arc<Shared>,
    pub(super) namespace: Namespace,
    pub(super) plugin: Arc<PluginOptions>,
    access: Access,
    pinned: Option<Pinned>,
    pub(super) reads: ReadSet,
    pub(super) writes: BTreeMap<Bytes, Write>,
    pub(super) events: Vec<StagedEvent>,
    pub(super) answer: StagedAnswer,
    pub(super) budget: Budget,
    /// How many deliveries of events led to this call.
    pub(super) hops: u32,
    /// Timers, and what settles the errand of the call.
    pub(super) host: HostRows,
    operations: usize,
    staged_bytes: usize,
}

/// A staged write.
#[derive(Debug, Clone)]
pub(super) enum Write {
    Put(Bytes),
    Delete,
}

struct Pinned {
    snapshot: Arc<Snapshot>,
    /// None if the plugin had written nothing yet.
    rows: Option<Arc<dyn Rows>>,
}

impl Write {
    fn bytes(&self) -> usize {
        self.value_bytes().unwrap_or(0)
    }

    /// None if it leaves no value.
    pub(super) fn value_bytes(&self) -> Option<usize> {
        match self {
            Self::Put(value) => Some(value.len()),
            Self::Delete => None,
        }
    }

    pub(super) fn versioned(&self) -> Option<Versioned> {
        match self {
            Self::Put(value) => Some(Versioned {
                value: value.clone(),
                version: 0,
            }),
            Self::Delete => None,
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("namespace", &self.namespace)
            .field("access", &self.access)
            .field("operations", &self.operations)
            .field("staged_bytes", &self.staged_bytes)
            .finish_non_exhaustive()
    }
}

impl Transaction {
    pub(super) fn new(store: Arc<Shared>, namespace: Namespace, access: Access) -> Self {
        Self {
            plugin: store.plugin(&namespace).clone(),
            store,
            namespace,
            access,
            pinned: None,
            reads: ReadSet::default(),
            writes: BTreeMap::new(),
            events: Vec::new(),
            answer: StagedAnswer::default(),
            budget: Budget::default(),
            hops: 0,
            host: HostRows::default(),
            operations: 0,
            staged_bytes: 0,
        }
    }

    /// The value under `key`, if there is one.
    ///
    /// # Errors
    /// If the key is too long, the call does too much, or the store is unavailable.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Versioned>, Error> {
        self.count_operations(1)?;
        self.check_key(key)?;
        self.read(key)
    }

    /// Stages `value` under `key` if the key is free; false if it is taken.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn insert(&mut self, key: &[u8], value: Bytes) -> Result<bool, Error> {
        self.begin_write(key)?;
        self.check_value(&value)?;
        if self.read(key)?.is_some() {
            return Ok(false);
        }
        self.stage(key, Write::Put(value))?;
        Ok(true)
    }

    /// Stages `value` under `key`, taken or not. It reads nothing, so it cannot be in conflict.
    ///
    /// # Errors
    /// If the call may only read, the key or value is too long, the call does or stages too much, or the
    /// store is unavailable.
    pub fn put(&mut self, key: &[u8], value: Bytes) -> Result<(), Error> {
        self.begin_write(key)?;
        self.check_value(&value)?;
        self.stage(key, Write::Put(value))
    }

    /// Stages `value` under `key` if what is there has `version`; false if it has another, or there is
    /// nothing.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_if(&mut self, key: &[u8], value: Bytes, version: u64) -> Result<bool, Error> {
        self.begin_write(key)?;
        self.check_value(&value)?;
        if !self.is_at(key, version)? {
            return Ok(false);
        }
        self.stage(key, Write::Put(value))?;
        Ok(true)
    }

    /// Stages the removal of `key` if what is there has `version`; false as with [`put_if`](Self::put_if).
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete_if(&mut self, key: &[u8], version: u64) -> Result<bool, Error> {
        self.begin_write(key)?;
        if !self.is_at(key, version)? {
            return Ok(false);
        }
        self.stage(key, Write::Delete)?;
        Ok(true)
    }

    fn is_at(&mut self, key: &[u8], version: u64) -> Result<bool, Error> {
        Ok(self.read(key)?.is_some_and(|found| found.version == version))
    }

    /// Stages the removal of `key`; false if there was nothing to remove.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.begin_write(key)?;
        if self.read(key)?.is_none() {
            return Ok(false);
        }
        self.stage(key, Write::Delete)?;
        Ok(true)
    }

    /// Stages an event, delivered at least once after the commit, in the order of the commits and, within
    /// one, of the calls to `publish`.
    ///
    /// # Errors
    /// If the call may only read, the topic is not 1 to 256 ASCII letters, digits, `.`, `-` or `_`, the key
    /// or payload is too long, the call does or stages too much, or the store is unavailable.
    pub fn publish(&mut self, topic: &str, key: &str, payload: Bytes) -> Result<(), Error> {
        self.begin_write(key.as_bytes())?;
        self.check_value(&payload)?;
        let event = StagedEvent::new(topic, key, payload)?;
        self.stage_bytes(event.bytes())?;
        self.events.push(event);
        Ok(())
    }

    /// Whether a commit would change anything.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
            && self.events.is_empty()
            && self.answer.answer.is_none()
            && self.host.is_empty()
    }

    /// What it has read and writes.
    pub fn rewritten(&self) -> impl Iterator<Item = Rewritten> {
        let written = self.reads.written_by(&self.writes);
        written.map(|read| read.rewritten(&self.namespace, &self.store.hashing))
    }

    /// The snapshot that the reads came from; none if nothing was read.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.pinned.as_ref().map(|pinned| pinned.snapshot.clone())
    }

    /// The same, which is pinned now if it was not.
    pub(super) fn pinned_snapshot(&mut self) -> Result<Arc<Snapshot>, Error> {
        self.rows()?;
        self.snapshot().ok_or_else(unavailable)
    }

    pub(super) fn staged_bytes(&self) -> usize {
        self.staged_bytes
    }

    pub(super) fn validates_reads(&self) -> bool {
        self.access == Access::ReadWrite
    }

    pub(super) fn count_operations(&mut self, count: usize) -> Result<(), Error> {
        self.store.check_open()?;
        let limit = self.plugin.bounds.max_operations;
        if count > limit - self.operations {
            return Err(Error::limit_exceeded(
                "the call does too many store operations",
                limit,
            ));
        }
        self.operations += count;
        Ok(())
    }

    pub(super) fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        let limit = self.plugin.bounds.max_key_bytes;
        if key.len() > limit {
            let message = format!(
                "a key of {} bytes is too long: at most {limit} are allowed",
                key.len()
            );
            return Err(Error::limit_exceeded(message, limit));
        }
        Ok(())
    }

    /// The plugin's entries in the pinned snapshot; pins the latest one if none is.
    pub(super) fn rows(&mut self) -> Result<Option<&Arc<dyn Rows>>, Error> {
        if self.pinned.is_none() {
            self.pin(self.store.snapshot()?)?;
        }
        Ok(self.pinned.as_ref().and_then(|pinned| pinned.rows.as_ref()))
    }

    /// Reads come from `snapshot` from now on. Nothing may have been read before.
    pub(super) fn pin(&mut self, snapshot: Arc<Snapshot>) -> Result<(), Error> {
        let rows = snapshot.rows(&self.namespace);
        let rows = rows.map_err(|e| self.store.read_failed(&e))?;
        self.pinned = Some(Pinned { snapshot, rows });
        Ok(())
    }

    fn read(&mut self, key: &[u8]) -> Result<Option<Versioned>, Error> {
        if let Some(write) = self.writes.get(key) {
            return Ok(write.versioned());
        }
        let found = match self.rows()? {
            Some(rows) => rows.get(key),
            None => Ok(None),
        };
        let found = found.map_err(|e| self.store.read_failed(&e))?;
        if self.validates_reads() {
            self.reads.add_key(Bytes::copy_from_slice(key));
        }
        Ok(found)
    }

    pub(super) fn begin_write(&mut self, key: &[u8]) -> Result<(), Error> {
        if self.access == Access::ReadOnly {
            return Err(Error::read_only());
        }
        self.count_operations(1)?;
        self.check_key(key)
    }

    fn check_value(&self, value: &[u8]) -> Result<(), Error> {
        let limit = self.plugin.bounds.max_value_bytes;
        if value.len() > limit {
            let message = format!(
                "a value of {} bytes is too long: at most {limit} are allowed",
                value.len()
            );
            return Err(Error::limit_exceeded(message, limit));
        }
        Ok(())
    }

    fn stage(&mut self, key: &[u8], write: Write) -> Result<(), Error> {
        let replaced = self.writes.get(key).map_or(0, |old| key.len() + old.bytes());
        self.staged_bytes -= replaced;
        let bytes = key.len() + write.bytes();
        if let Err(error) = self.stage_bytes(bytes) {
            self.staged_bytes += replaced;
            return Err(error);
        }
        if let Err(error) = self.count_growth(key, &write) {
            self.staged_bytes = self.staged_bytes - bytes + replaced;
            return Err(error);
        }
        self.writes.insert(Bytes::copy_from_slice(key), write);
        Ok(())
    }

    pub(super) fn stage_bytes(&mut self, bytes: usize) -> Result<(), Error> {
        let limit = self.plugin.bounds.max_staged_bytes;
        if bytes > limit - self.staged_bytes {
            return Err(Error::limit_exceeded("the call stages too many bytes", limit));
        }
        self.staged_bytes += bytes;
        Ok(())
    }
}
