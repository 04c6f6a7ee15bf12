//! The plugin's own transactional store: [tables](Table) of messages, and the [bytes](Store) beneath.

mod index;
mod key;
mod raw;
mod scan;
mod table;

pub use index::{Index, IndexEntry, IndexKeys, IndexPage, Indexed, IndexedTable, ReadIndexedTable};
pub use key::{FromKey, Key, KeyMismatch, KeyReader, KeyWriter, StoredKey};
pub use raw::{RawEntry, RawPage, RawScan, ReadStore, Store, Versioned};
pub use scan::Scan;
#[cfg(not(target_family = "wasm"))]
pub(crate) use table::stored_key;
pub use table::{Entry, Page, ReadTable, Table};
