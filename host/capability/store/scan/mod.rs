mod parts;

use std::ops::Bound;

use bytes::Bytes;

use super::read_set::{End, successor};
use super::reads::Most;
use super::transaction::Transaction;
use super::unavailable;
use crate::capability::Error;
use parts::Scan;

/// A part of the key space, read page by page.
#[derive(Debug, Clone)]
pub struct Range {
    /// Inclusive; empty for the first key.
    pub start: Bytes,
    /// Exclusive; none for the last key.
    pub end: Option<Bytes>,
    /// The cursor of the page before; none for the first page.
    pub cursor: Option<Bytes>,
    /// In which order the entries come.
    pub direction: Direction,
    /// At most this many entries, at least 1. The host's own bound may make a page shorter.
    pub limit: u32,
}

/// The order of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From `start` to `end`.
    Ascending,
    /// From `end` to `start`.
    Descending,
}

/// A part of a scan's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of the scan.
    pub entries: Vec<Entry>,
    /// Present when the range may hold more.
    pub cursor: Option<Bytes>,
}

/// A key, its value, and the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// As in [`Versioned::version`](super::Versioned::version).
    pub version: u64,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

impl Transaction {
    /// One page of `range`, the transaction's own writes included.
    ///
    /// What counts as read, for validation, is the range as far as the page goes, not beyond it.
    ///
    /// A long page is read to its end on one of [a few threads](super::Options::read_threads), for which it may
    /// have to wait. Dropping the future ends either. It is to be awaited within a runtime of tokio.
    ///
    /// # Errors
    /// If the range is reversed, the limit is 0, the cursor is not one that a page of this range and
    /// direction gave, a key is too long, the call does too much, or the store is unavailable.
    pub async fn scan(&mut self, range: &Range) -> Result<Page, Error> {
        let Some(mut scan) = self.begin_scan(range)? else {
            return Ok(Page::default());
        };
        let mut part = scan.next_part(Most::AT_ONCE);
        let mut rows = part.read(&|| false);
        loop {
            scan.take(rows.map_err(|e| self.store.read_failed(&e))?, &self.writes);
            if scan.is_complete() {
                return Ok(self.end_scan(scan));
            }
            part = scan.next_part(Most::ALL);
            let read = self.store.read_threads.run(move |gone| part.read(gone)).await;
            rows = read.ok_or_else(unavailable)?;
        }
    }

    /// The same on the calling thread, however long it takes.
    ///
    /// # Errors
    /// As those of [`scan`](Self::scan).
    pub fn blocking_scan(&mut self, range: &Range) -> Result<Page, Error> {
        let Some(mut scan) = self.begin_scan(range)? else {
            return Ok(Page::default());
        };
        loop {
            let rows = scan.next_part(Most::ALL).read(&|| false);
            scan.take(rows.map_err(|e| self.store.read_failed(&e))?, &self.writes);
            if scan.is_complete() {
                return Ok(self.end_scan(scan));
            }
        }
    }

    /// None if there is nothing in the range.
    fn begin_scan(&mut self, range: &Range) -> Result<Option<Scan>, Error> {
        self.count_operations(1)?;
        self.check_range(range)?;
        if range.end.as_ref() == Some(&range.start) {
            return Ok(None);
        }
        let bounds = remaining(range)?;
        let limits = &self.plugin.bounds;
        let most = Most {
            count: limits.max_page_entries.min(range.limit as usize),
            bytes: limits.max_page_bytes,
        };
        let rows = self.rows()?.cloned();
        Ok(Some(Scan::new(rows, range.direction, bounds, most)))
    }

    fn end_scan(&mut self, scan: Scan) -> Page {
        let (direction, bounds) = (scan.direction, scan.bounds.clone());
        let page = scan.into_page();
        if self.validates_reads() {
            self.remember(direction, bounds, &page);
        }
        page
    }

    fn check_range(&self, range: &Range) -> Result<(), Error> {
        self.check_key(&range.start)?;
        if let Some(end) = &range.end {
            self.check_key(end)?;
            if *end < range.start {
                return Err(Error::invalid(
                    "the range is reversed: its end lies before its start",
                ));
            }
        }
        if range.limit == 0 {
            return Err(Error::invalid("the limit of a scan must be at least 1"));
        }
        Ok(())
    }

    fn remember(&mut self, direction: Direction, (lower, upper): Bounds, page: &Page) {
        let mut start = match lower {
            Bound::Included(key) => key,
            Bound::Excluded(key) => successor(&key),
            Bound::Unbounded => Bytes::new(),
        };
        let mut end = match upper {
            Bound::Excluded(key) => End::Before(key),
            Bound::Included(key) => End::Before(successor(&key)),
            Bound::Unbounded => End::Unbounded,
        };
        if page.cursor.is_some()
            && let Some(last) = page.entries.last()
        {
            match direction {
                Direction::Ascending => end = End::Before(successor(&last.key)),
                Direction::Descending => start = last.key.clone(),
            }
        }
        self.reads.add_range(start, end);
    }
}

type Bounds = (Bound<Bytes>, Bound<Bytes>);

fn borrowed((lower, upper): &Bounds) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (
        lower.as_ref().map(|key| key.as_ref()),
        upper.as_ref().map(|key| key.as_ref()),
    )
}

/// The part of `range` that its cursor leaves.
fn remaining(range: &Range) -> Result<Bounds, Error> {
    let mut lower = Bound::Included(range.start.clone());
    let mut upper = range.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
    if let Some(cursor) = &range.cursor {
        let last = decode_cursor(range, cursor)?;
        match range.direction {
            Direction::Ascending => lower = Bound::Excluded(last),
            Direction::Descending => upper = Bound::Excluded(last),
        }
    }
    Ok((lower, upper))
}

const CURSOR_ASCENDING: u8 = 0x01;
const CURSOR_DESCENDING: u8 = 0x02;

fn cursor_tag(direction: Direction) -> u8 {
    match direction {
        Direction::Ascending => CURSOR_ASCENDING,
        Direction::Descending => CURSOR_DESCENDING,
    }
}

/// A tag for the format and direction, and the last key of the page. A forged one can name no key outside the
/// range, so it needs no signature: the range itself is the plugin's choice.
fn encode_cursor(direction: Direction, last: &[u8]) -> Bytes {
    let mut cursor = Vec::with_capacity(1 + last.len());
    cursor.push(cursor_tag(direction));
    cursor.extend_from_slice(last);
    cursor.into()
}

fn decode_cursor(range: &Range, cursor: &Bytes) -> Result<Bytes, Error> {
    let foreign = || Error::invalid("the cursor is not one that a page of this range and direction gave");
    let tag = *cursor.first().ok_or_else(foreign)?;
    let last = cursor.slice(1..);
    let inside = last >= range.start && range.end.as_ref().is_none_or(|end| last < *end);
    if tag == cursor_tag(range.direction) && inside {
        Ok(last)
    } else {
        Err(foreign())
    }
}
