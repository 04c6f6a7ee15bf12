//! [`Scan`]: which entries of a table, in which order, how many.

use std::ops::{Bound, RangeBounds};

use super::key::{Key, KeyWriter};
use super::raw::RawScan;

/// Which entries of a table to read.
///
/// ```
/// use mortise_guest::Scan;
///
/// let all_newest_first = Scan::all().descending().limit(50);
/// let one_customer = Scan::prefix("customer-7");          // of keys such as ("customer-7", created)
/// let in_march = Scan::range(("eu", 301)..("eu", 401));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Encoded without the table's name.
    start: Vec<u8>,
    /// Encoded without the table's name; none for the table's end.
    end: Option<Vec<u8>>,
    cursor: Option<Vec<u8>>,
    descending: bool,
    limit: u32,
}

impl Scan {
    /// Entries of a page unless [`limit`](Scan::limit) says otherwise.
    pub const DEFAULT_LIMIT: u32 = 100;

    /// All entries.
    pub fn all() -> Scan {
        Scan::between(Vec::new(), None)
    }

    /// Entries whose keys begin with these elements, or are just them.
    pub fn prefix(elements: impl Key) -> Scan {
        let start = encode(elements);
        let end = successor(&start);
        Scan::between(start, end)
    }

    /// Entries whose key begins with a text that begins with `text`.
    pub fn starting_with(text: &str) -> Scan {
        let mut writer = KeyWriter::empty();
        writer.text_head(text);
        let start = writer.finish();
        let end = successor(&start);
        Scan::between(start, end)
    }

    /// Entries whose keys lie in a range. A key that goes on from a bound is greater than it.
    pub fn range<K: Key>(range: impl RangeBounds<K>) -> Scan {
        let start = match range.start_bound() {
            Bound::Included(key) => encode(key),
            Bound::Excluded(key) => after(key),
            Bound::Unbounded => Vec::new(),
        };
        let end = match range.end_bound() {
            Bound::Included(key) => Some(after(key)),
            Bound::Excluded(key) => Some(encode(key)),
            Bound::Unbounded => None,
        };
        Scan::between(start, end)
    }

    /// From the greatest key to the least.
    #[must_use]
    pub fn descending(mut self) -> Scan {
        self.descending = true;
        self
    }

    /// At most `entries` on a page; the host's own bound may make it shorter.
    #[must_use]
    pub fn limit(mut self, entries: u32) -> Scan {
        self.limit = entries;
        self
    }

    /// Goes on where an earlier page of the same scan stopped; none starts at the beginning.
    #[must_use]
    pub fn resume(mut self, cursor: Option<Vec<u8>>) -> Scan {
        self.cursor = cursor;
        self
    }

    fn between(start: Vec<u8>, end: Option<Vec<u8>>) -> Scan {
        Scan {
            start,
            end,
            cursor: None,
            descending: false,
            limit: Scan::DEFAULT_LIMIT,
        }
    }

    /// The scan over a table's part of the store.
    pub(super) fn within(self, table: &[u8]) -> RawScan {
        let end = match self.end {
            Some(end) => Some([table, &end].concat()),
            None => successor(table),
        };
        RawScan {
            start: [table, &self.start].concat(),
            end,
            cursor: self.cursor,
            descending: self.descending,
            limit: self.limit,
        }
    }
}

fn encode(key: impl Key) -> Vec<u8> {
    let mut writer = KeyWriter::empty();
    key.write(&mut writer);
    writer.finish()
}

/// The least byte string greater than the key; no element begins with `00`.
fn after(key: impl Key) -> Vec<u8> {
    let mut bytes = encode(key);
    bytes.push(0);
    bytes
}

/// The least byte string greater than all that begin with `bytes`; none if there is no greater one.
fn successor(bytes: &[u8]) -> Option<Vec<u8>> {
    let last = bytes.iter().rposition(|byte| *byte != 0xff)?;
    let mut bytes = bytes[..=last].to_vec();
    bytes[last] += 1;
    Some(bytes)
}
