//! [`Indexed`]: tables that are found by more than their key.

use std::fmt;
use std::ops::Deref;

use prost::Message;

use super::key::{Key, KeyWriter, StoredKey};
use super::raw::{ReadStore, Store};
use super::scan::Scan;
use super::table::{Entry, Page, ReadTable, Table, stored_key};
use crate::Status;

/// A table with its indexes, written down once and used wherever the table is.
///
/// ```
/// use mortise_guest::store::{Index, Indexed};
/// use mortise_guest::{Call, ReadCall, Scan, Status};
///
/// #[derive(Clone, PartialEq, mortise_guest::prost::Message)]
/// struct Order {
///     #[prost(string, tag = "1")]
///     customer: String,
///     #[prost(int64, tag = "2")]
///     day: i64,
/// }
///
/// const BY_CUSTOMER: Index<Order> =
///     Index::new("by_customer", |order, keys| keys.add((&order.customer, order.day)));
/// const ORDERS: Indexed<Order> = Indexed::new("orders", &[BY_CUSTOMER]);
///
/// fn place(call: &Call, id: &str, order: &Order) -> Result<(), Status> {
///     call.indexed(&ORDERS).insert(id, order)
/// }
///
/// fn newest(call: &ReadCall, customer: &str) -> Result<Vec<Order>, Status> {
///     let scan = Scan::prefix(customer).descending().limit(20);
///     let page = call.indexed(&ORDERS).by(&BY_CUSTOMER, scan)?;
///     Ok(page.entries.into_iter().map(|entry| entry.value).collect())
/// }
///
/// let mut host = mortise_guest::testing::Host::new();
/// for (id, day) in [("a", 1), ("b", 2)] {
///     let order = Order { customer: "ann".into(), day };
///     host.call(Default::default(), |call| place(call, id, &order)).unwrap();
/// }
/// let orders = host.call(Default::default(), |call| newest(call, "ann")).unwrap().message;
/// assert_eq!(orders.iter().map(|order| order.day).collect::<Vec<_>>(), [2, 1]);
/// ```
///
/// The entries of an index are written with the message, in the same transaction. Each belongs to the key
/// `(TABLE.INDEX, elements of the index, elements of the message's key)`, and its value is the message's key.
#[derive(Debug)]
pub struct Indexed<M: 'static> {
    name: &'static str,
    indexes: &'static [Index<M>],
}

/// What else the messages of a table are found by.
pub struct Index<M> {
    name: &'static str,
    keys: fn(&M, &mut IndexKeys),
}

impl<M> fmt::Debug for Index<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The keys under which an index finds one message: none, one or several.
#[derive(Debug, Default)]
pub struct IndexKeys {
    keys: Vec<Vec<u8>>,
}

impl IndexKeys {
    /// Has the message found under `key`.
    pub fn add(&mut self, key: impl Key) {
        let mut writer = KeyWriter::empty();
        key.write(&mut writer);
        self.keys.push(writer.finish());
    }
}

impl<M> Index<M> {
    /// An index called `name`, and the keys that it finds a message by. Messages with the same one are in the
    /// order of their own keys.
    ///
    /// When `keys` changes, the entries of messages that are there already stay as they are: give the index a
    /// new name, and [`reindex`](IndexedTable::reindex).
    pub const fn new(name: &'static str, keys: fn(&M, &mut IndexKeys)) -> Index<M> {
        Index { name, keys }
    }
}

impl<M> Indexed<M> {
    /// The table `name` with these indexes.
    pub const fn new(name: &'static str, indexes: &'static [Index<M>]) -> Indexed<M> {
        Indexed { name, indexes }
    }
}

/// An indexed table, in a method that may write. It reads as a [`ReadIndexedTable`] does.
#[derive(Debug)]
pub struct IndexedTable<'c, M: 'static> {
    read: ReadIndexedTable<'c, M>,
}

/// An indexed table in a call that may not write. It reads as a [`ReadTable`] does, and by its indexes.
#[derive(Debug)]
pub struct ReadIndexedTable<'c, M: 'static> {
    table: ReadTable<'c, M>,
    definition: &'c Indexed<M>,
}

/// What an index has on a page, without the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPage {
    /// The entries in the order of the index.
    pub entries: Vec<IndexEntry>,
    /// Where to [go on](Scan::resume); none at the end.
    pub cursor: Option<Vec<u8>>,
}

/// An entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The elements that the index finds the message by, followed by those of its key.
    pub found_by: StoredKey,
    /// The message's key.
    pub key: StoredKey,
}

impl<'c, M> Deref for IndexedTable<'c, M> {
    type Target = ReadIndexedTable<'c, M>;

    fn deref(&self) -> &ReadIndexedTable<'c, M> {
        &self.read
    }
}

impl<'c, M> Deref for ReadIndexedTable<'c, M> {
    type Target = ReadTable<'c, M>;

    fn deref(&self) -> &ReadTable<'c, M> {
        &self.table
    }
}

/// # Errors
/// As those of [`ReadTable`].
impl<'c, M: Message + Default> ReadIndexedTable<'c, M> {
    pub(crate) fn new(definition: &'c Indexed<M>) -> Self {
        ReadIndexedTable {
            table: ReadTable::new(definition.name),
            definition,
        }
    }

    /// A page of the messages that an index finds, in its order. `scan` is about the keys of the index. A
    /// message that the index finds twice is there twice.
    ///
    /// # Panics
    /// When the index is not one of the table's: its entries would not be kept.
    pub fn by(&self, index: &Index<M>, scan: Scan) -> Result<Page<M>, Status> {
        let IndexPage { entries, cursor } = self.keys_by(index, scan)?;
        // One by one: a page of large messages is more than the host gives at once.
        let entries = entries.into_iter().map(|IndexEntry { key, .. }| {
            let found = self.get_versioned(&key)?;
            let found = found.ok_or_else(|| Status::data_loss("An indexed message is missing"))?;
            Ok(Entry {
                key,
                value: found.value,
                version: found.version,
            })
        });
        Ok(Page {
            entries: entries.collect::<Result<_, Status>>()?,
            cursor,
        })
    }

    /// The same without the messages, for an index that says enough.
    ///
    /// # Panics
    /// As [`by`](Self::by).
    pub fn keys_by(&self, index: &Index<M>, scan: Scan) -> Result<IndexPage, Status> {
        let known = self
            .definition
            .indexes
            .iter()
            .any(|known| known.name == index.name);
        assert!(
            known,
            "table {} has no index {}",
            self.definition.name, index.name
        );
        let prefix = prefix(self.definition.name, index.name);
        let page = ReadStore::new().scan(scan.within(&prefix))?;
        let entries = page.entries.into_iter().map(|entry| IndexEntry {
            found_by: StoredKey::new(
                entry
                    .key
                    .strip_prefix(prefix.as_slice())
                    .unwrap_or_default()
                    .to_vec(),
            ),
            key: StoredKey::new(entry.value),
        });
        Ok(IndexPage {
            entries: entries.collect(),
            cursor: page.cursor,
        })
    }
}

/// Each write reads what is there, to take its entries out of the indexes, so it can be in conflict as every
/// read can.
///
/// # Errors
/// As those of [`Table`]. A handler that goes on after one, instead of answering with it, may commit a
/// message that not all indexes have.
impl<'c, M: Message + Default> IndexedTable<'c, M> {
    pub(crate) fn new(definition: &'c Indexed<M>) -> Self {
        IndexedTable {
            read: ReadIndexedTable::new(definition),
        }
    }

    /// As [`Table::insert`].
    pub fn insert(&self, key: impl Key, message: &M) -> Result<(), Status> {
        self.plain().insert(&key, message)?;
        self.replace(&key, None, Some(message))
    }

    /// As [`Table::put`].
    pub fn put(&self, key: impl Key, message: &M) -> Result<(), Status> {
        let before = self.get(&key)?;
        self.plain().put(&key, message)?;
        self.replace(&key, before.as_ref(), Some(message))
    }

    /// As [`Table::put_if`].
    pub fn put_if(&self, key: impl Key, message: &M, version: u64) -> Result<bool, Status> {
        let before = self.get(&key)?;
        let written = self.plain().put_if(&key, message, version)?;
        if written {
            self.replace(&key, before.as_ref(), Some(message))?;
        }
        Ok(written)
    }

    /// As [`Table::delete`].
    pub fn delete(&self, key: impl Key) -> Result<bool, Status> {
        let Some(before) = self.get(&key)? else {
            return Ok(false);
        };
        self.replace(&key, Some(&before), None)?;
        self.plain().delete(&key)
    }

    /// As [`Table::delete_if`].
    pub fn delete_if(&self, key: impl Key, version: u64) -> Result<bool, Status> {
        let before = self.get(&key)?;
        let deleted = self.plain().delete_if(&key, version)?;
        if deleted {
            self.replace(&key, before.as_ref(), None)?;
        }
        Ok(deleted)
    }

    /// Writes the index entries of a page of messages, for an index that is newer than they are. Gives where
    /// to go on, in another call if there are many.
    pub fn reindex(&self, scan: Scan) -> Result<Option<Vec<u8>>, Status> {
        let page = self.scan(scan)?;
        for entry in &page.entries {
            self.replace(&entry.key, None, Some(&entry.value))?;
        }
        Ok(page.cursor)
    }

    fn plain(&self) -> Table<'c, M> {
        Table::new(self.definition.name)
    }

    /// Brings the indexes from the message `before` to the one `after`.
    fn replace(&self, key: &dyn Key, before: Option<&M>, after: Option<&M>) -> Result<(), Status> {
        let mut own = KeyWriter::empty();
        key.write(&mut own);
        let own = own.finish();
        for index in self.definition.indexes {
            let prefix = prefix(self.definition.name, index.name);
            let row = |key: &Vec<u8>| [&prefix, key, &own].map(Vec::as_slice).concat();
            let (old, new) = (index.keys_of(before), index.keys_of(after));
            for gone in old.iter().filter(|key| !new.contains(key)) {
                Store::new().delete(&row(gone))?;
            }
            for key in new.iter().filter(|key| !old.contains(key)) {
                Store::new().put(&row(key), &own)?;
            }
        }
        Ok(())
    }
}

impl<M> Index<M> {
    fn keys_of(&self, message: Option<&M>) -> Vec<Vec<u8>> {
        let mut keys = IndexKeys::default();
        if let Some(message) = message {
            (self.keys)(message, &mut keys);
        }
        keys.keys
    }
}

/// What all keys of an index begin with.
fn prefix(table: &str, index: &str) -> Vec<u8> {
    stored_key(&format!("{table}.{index}"), ())
}
