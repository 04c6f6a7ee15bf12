//! [`Table`]: named collections of messages in the plugin's store.

use std::marker::PhantomData;
use std::ops::Deref;

use prost::Message;

use super::key::{Key, KeyWriter, StoredKey};
use super::raw::{ReadStore, Store, Versioned};
use super::scan::Scan;
use crate::details::ResourceInfo;
use crate::{Call, Status};

/// A table: messages of type `M` under ordered [keys](Key), in a method that may write.
///
/// It reads as a [`ReadTable`] does.
#[derive(Debug)]
pub struct Table<'c, M> {
    read: ReadTable<'c, M>,
}

/// A table in a call that may not write.
#[derive(Debug)]
pub struct ReadTable<'c, M> {
    name: &'c str,
    _call: PhantomData<&'c Call>,
    _values: PhantomData<fn() -> M>,
}

/// An entry of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<M> {
    /// Its key; [`decode`](StoredKey::decode) gives it as a Rust type.
    pub key: StoredKey,
    /// Its value.
    pub value: M,
    /// The commit that wrote it; 0 for a write of this very call.
    pub version: u64,
}

/// A page of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<M> {
    /// The entries in order.
    pub entries: Vec<Entry<M>>,
    /// Where to [go on](Scan::resume); none at the end.
    pub cursor: Option<Vec<u8>>,
}

impl<'c, M> Deref for Table<'c, M> {
    type Target = ReadTable<'c, M>;

    fn deref(&self) -> &ReadTable<'c, M> {
        &self.read
    }
}

/// # Errors
/// Every method fails with the host's status when the store does: `INTERNAL`, or `UNAVAILABLE` when surely
/// nothing was stored; and with `DATA_LOSS` when a stored value is no `M`.
impl<'c, M: Message + Default> ReadTable<'c, M> {
    pub(crate) fn new(name: &'c str) -> Self {
        ReadTable {
            name,
            _call: PhantomData,
            _values: PhantomData,
        }
    }

    /// The message at `key`.
    pub fn get(&self, key: impl Key) -> Result<Option<M>, Status> {
        Ok(self.get_versioned(key)?.map(|versioned| versioned.value))
    }

    /// The message at `key`, with the commit that wrote it.
    pub fn get_versioned(&self, key: impl Key) -> Result<Option<Versioned<M>>, Status> {
        let found = ReadStore::new().get(&self.stored_key(key))?;
        found
            .map(|Versioned { value, version }| {
                Ok(Versioned {
                    value: self.decode(&value)?,
                    version,
                })
            })
            .transpose()
    }

    /// The messages at `keys`, in their order, fetched at once.
    pub fn get_many<K: Key>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Option<M>>, Status> {
        let keys: Vec<Vec<u8>> = keys.into_iter().map(|key| self.stored_key(key)).collect();
        let found = ReadStore::new().get_many(&keys)?;
        found
            .into_iter()
            .map(|found| found.map(|found| self.decode(&found.value)).transpose())
            .collect()
    }

    /// A page of the table.
    pub fn scan(&self, scan: Scan) -> Result<Page<M>, Status> {
        let table = KeyWriter::new(self.name).finish();
        let page = ReadStore::new().scan(scan.within(&table))?;
        let entries = page.entries.into_iter().map(|entry| {
            let key = entry.key.strip_prefix(table.as_slice()).unwrap_or_default();
            Ok(Entry {
                key: StoredKey::new(key.to_vec()),
                value: self.decode(&entry.value)?,
                version: entry.version,
            })
        });
        Ok(Page {
            entries: entries.collect::<Result<_, Status>>()?,
            cursor: page.cursor,
        })
    }

    fn stored_key(&self, key: impl Key) -> Vec<u8> {
        stored_key(self.name, key)
    }

    fn decode(&self, value: &[u8]) -> Result<M, Status> {
        M::decode(value).map_err(|error| Status::data_loss("Stored data cannot be read").with_cause(error))
    }
}

/// # Errors
/// As those of [`ReadTable`]; `insert` besides with `ALREADY_EXISTS`.
impl<'c, M: Message + Default> Table<'c, M> {
    pub(crate) fn new(name: &'c str) -> Self {
        Table {
            read: ReadTable::new(name),
        }
    }

    /// Stores a message under a key that must be free. A taken one is `ALREADY_EXISTS` with
    /// [`ResourceInfo`]: the table's name as the type, the key as the name.
    pub fn insert(&self, key: impl Key, message: &M) -> Result<(), Status> {
        let stored_key = self.stored_key(key);
        if Store::new().insert(&stored_key, &message.encode_to_vec())? {
            return Ok(());
        }
        let table_len = KeyWriter::new(self.name).finish().len();
        let key = StoredKey::new(stored_key[table_len..].to_vec()).to_string();
        Err(
            Status::already_exists(format!("`{key}` already exists in {}", self.name)).with_detail(
                ResourceInfo {
                    resource_type: self.name.to_owned(),
                    resource_name: key,
                    ..ResourceInfo::default()
                },
            ),
        )
    }

    /// Stores a message, whatever was there.
    pub fn put(&self, key: impl Key, message: &M) -> Result<(), Status> {
        Store::new().put(&self.stored_key(key), &message.encode_to_vec())
    }

    /// Stores a message if what is there has this version, as [`get_versioned`](ReadTable::get_versioned)
    /// gave it, maybe to an earlier call. False means that it has changed since, or is gone.
    pub fn put_if(&self, key: impl Key, message: &M, version: u64) -> Result<bool, Status> {
        Store::new().put_if(&self.stored_key(key), &message.encode_to_vec(), version)
    }

    /// Deletes if what is there has this version; false as with [`put_if`](Table::put_if).
    pub fn delete_if(&self, key: impl Key, version: u64) -> Result<bool, Status> {
        Store::new().delete_if(&self.stored_key(key), version)
    }

    /// Deletes; false means there was nothing.
    pub fn delete(&self, key: impl Key) -> Result<bool, Status> {
        Store::new().delete(&self.stored_key(key))
    }
}

/// A key of a table as the store has it.
pub(crate) fn stored_key(table: &str, key: impl Key) -> Vec<u8> {
    let mut writer = KeyWriter::new(table);
    key.write(&mut writer);
    writer.finish()
}
