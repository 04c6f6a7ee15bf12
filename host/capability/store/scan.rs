use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;
use redb::StorageError;

use super::read_set::{End, successor};
use super::transaction::{Transaction, Versioned};
use crate::capability::Error;

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
    /// As in [`Versioned::version`].
    pub version: u64,
}

impl Transaction {
    /// One page of `range`, the transaction's own writes included.
    ///
    /// What counts as read, for validation, is the range as far as the page goes, not beyond it.
    ///
    /// # Errors
    /// If the range is reversed, the limit is 0, the cursor is not one that a page of this range and
    /// direction gave, a key is too long, the call does too much, or the store is unavailable.
    pub fn scan(&mut self, range: &Range) -> Result<Page, Error> {
        self.count_operations(1)?;
        self.check_range(range)?;
        if range.end.as_ref() == Some(&range.start) {
            return Ok(Page::default());
        }
        let bounds = remaining(range)?;
        let page = self.collect(range, &bounds)?;
        if self.validates_reads() {
            self.remember(range.direction, bounds, &page);
        }
        Ok(page)
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

    fn collect(&mut self, range: &Range, bounds: &Bounds) -> Result<Page, Error> {
        let bounds_of_page = &self.plugin.bounds;
        let max_entries = bounds_of_page.max_page_entries.min(range.limit as usize);
        let max_bytes = bounds_of_page.max_page_bytes;
        let stored = match self.table()? {
            Some(table) => Some(
                table
                    .range::<&[u8]>(borrowed(bounds))
                    .map_err(|e| self.store.read_failed(&e))?,
            ),
            None => None,
        };
        let stored = stored.into_iter().flatten().map(|row| {
            let (key, value) = row?;
            let (version, value) = value.value();
            let value = Versioned {
                value: Bytes::copy_from_slice(value),
                version,
            };
            Ok((Bytes::copy_from_slice(key.value()), Some(value)))
        });
        let staged = self.writes.range::<[u8], _>(borrowed(bounds));
        let staged = staged.map(|(key, write)| Ok((key.clone(), write.versioned())));
        let mut rows: Merge<'_> = match range.direction {
            Direction::Ascending => Merge::new(stored, staged, Ordering::Less),
            Direction::Descending => Merge::new(stored.rev(), staged.rev(), Ordering::Greater),
        };

        let mut page = Page::default();
        let mut bytes = 0;
        while page.entries.len() < max_entries && bytes < max_bytes {
            let Some(row) = rows.next() else { return Ok(page) };
            let (key, value) = row.map_err(|e| self.store.read_failed(&e))?;
            if let Some(Versioned { value, version }) = value {
                bytes += key.len() + value.len();
                page.entries.push(Entry { key, value, version });
            }
        }
        page.cursor = page
            .entries
            .last()
            .map(|last| encode_cursor(range.direction, &last.key));
        Ok(page)
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

/// A key and its value; none if the transaction deletes it.
type Row = Result<(Bytes, Option<Versioned>), StorageError>;

/// Rows of the snapshot and of the transaction as one ordered sequence; where both have a key, the
/// transaction's row counts.
struct Merge<'a> {
    stored: Peekable<Box<dyn Iterator<Item = Row> + 'a>>,
    staged: Peekable<Box<dyn Iterator<Item = Row> + 'a>>,
    first: Ordering,
}

impl<'a> Merge<'a> {
    fn new(
        stored: impl Iterator<Item = Row> + 'a,
        staged: impl Iterator<Item = Row> + 'a,
        first: Ordering,
    ) -> Self {
        let boxed_stored: Box<dyn Iterator<Item = Row> + 'a> = Box::new(stored);
        let boxed_staged: Box<dyn Iterator<Item = Row> + 'a> = Box::new(staged);
        Self {
            stored: boxed_stored.peekable(),
            staged: boxed_staged.peekable(),
            first,
        }
    }
}

impl Iterator for Merge<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let (Some(Ok((stored, _))), Some(Ok((staged, _)))) = (self.stored.peek(), self.staged.peek()) else {
            return self.stored.next().or_else(|| self.staged.next());
        };
        let order = stored.cmp(staged);
        if order == self.first {
            return self.stored.next();
        }
        if order == Ordering::Equal {
            self.stored.next();
        }
        self.staged.next()
    }
}
