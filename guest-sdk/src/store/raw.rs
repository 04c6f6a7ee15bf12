//! The store as plain bytes.

use std::marker::PhantomData;
use std::ops::Deref;

use crate::bindings::mortise::plugin::store as wit;
use crate::{Call, Status, host};

/// The plugin's own ordered key-value store.
///
/// Keys and values are bytes; [`Table`](super::Table) puts names, types and messages over them, in the same
/// key space: a table's keys begin with `02`. Reads see one snapshot and the call's own writes.
#[derive(Clone, Copy, Debug)]
pub struct Store<'c> {
    read: ReadStore<'c>,
}

/// The [`Store`] of a call that may not write.
#[derive(Clone, Copy, Debug)]
pub struct ReadStore<'c> {
    _call: PhantomData<&'c Call>,
}

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The commit that wrote it; 0 for a write of this very call.
    pub version: u64,
}

/// An entry of the plain store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// The whole key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The commit that wrote it; 0 for a write of this very call.
    pub version: u64,
}

/// A part of the plain store to go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawScan {
    /// The first key.
    pub start: Vec<u8>,
    /// The first key no longer part of it; none for all to the end.
    pub end: Option<Vec<u8>>,
    /// Where an earlier page stopped.
    pub cursor: Option<Vec<u8>>,
    /// From the last key to the first.
    pub descending: bool,
    /// Most entries of a page; the host's own bound may make it shorter.
    pub limit: u32,
}

/// A page of the plain store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPage {
    /// The entries in order.
    pub entries: Vec<RawEntry>,
    /// Where to go on; none at the end.
    pub cursor: Option<Vec<u8>>,
}

impl<'c> Deref for Store<'c> {
    type Target = ReadStore<'c>;

    fn deref(&self) -> &ReadStore<'c> {
        &self.read
    }
}

/// # Errors
/// Every method fails with the host's status: `INTERNAL`, or `UNAVAILABLE` when surely nothing was stored.
impl ReadStore<'_> {
    pub(crate) fn new() -> Self {
        ReadStore { _call: PhantomData }
    }

    /// The value at `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Versioned<Vec<u8>>>, Status> {
        Ok(host::store::get(key)?.map(versioned))
    }

    /// The values at `keys`, in their order.
    pub fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Versioned<Vec<u8>>>>, Status> {
        let values = host::store::get_many(keys)?;
        Ok(values.into_iter().map(|value| value.map(versioned)).collect())
    }

    /// A page of a range of keys.
    pub fn scan(&self, scan: RawScan) -> Result<RawPage, Status> {
        let page = host::store::scan(&wit::Range {
            start: scan.start,
            end: scan.end,
            cursor: scan.cursor,
            direction: if scan.descending {
                wit::Direction::Descending
            } else {
                wit::Direction::Ascending
            },
            limit: scan.limit,
        })?;
        let entries = page.entries.into_iter();
        Ok(RawPage {
            entries: entries
                .map(|wit::Entry { key, value, version }| RawEntry { key, value, version })
                .collect(),
            cursor: page.cursor,
        })
    }
}

/// # Errors
/// As those of [`ReadStore`].
impl Store<'_> {
    pub(crate) fn new() -> Self {
        Store {
            read: ReadStore::new(),
        }
    }

    /// Writes only if the key is free; false means it is taken.
    pub fn insert(&self, key: &[u8], value: &[u8]) -> Result<bool, Status> {
        Ok(host::store::insert(key, value)?)
    }

    /// Writes, whatever was there.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Status> {
        Ok(host::store::put(key, value)?)
    }

    /// Writes only if what is there has this version; false means that it has another, or that there is
    /// nothing.
    pub fn put_if(&self, key: &[u8], value: &[u8], version: u64) -> Result<bool, Status> {
        Ok(host::store::put_if(key, value, version)?)
    }

    /// Deletes only if what is there has this version; false as with [`put_if`](Store::put_if).
    pub fn delete_if(&self, key: &[u8], version: u64) -> Result<bool, Status> {
        Ok(host::store::delete_if(key, version)?)
    }

    /// Deletes; false means there was nothing.
    pub fn delete(&self, key: &[u8]) -> Result<bool, Status> {
        Ok(host::store::delete(key)?)
    }
}

fn versioned(value: wit::Versioned) -> Versioned<Vec<u8>> {
    Versioned {
        value: value.value,
        version: value.version,
    }
}
