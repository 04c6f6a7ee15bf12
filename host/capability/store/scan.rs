use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use super::backend::{ReadError, Rows};
use super::read_set::{End, successor};
use super::transaction::{Transaction, Versioned, Write};
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
        let limits = &self.plugin.bounds;
        let mut filling = Filling {
            max_entries: limits.max_page_entries.min(range.limit as usize),
            max_bytes: limits.max_page_bytes,
            page: Page::default(),
            bytes: 0,
        };
        let rows = self.rows()?.cloned();
        let staged = self.writes.range::<[u8], _>(borrowed(bounds));
        let full = match range.direction {
            Direction::Ascending => filling.fill(rows.as_deref(), bounds, range.direction, staged),
            Direction::Descending => filling.fill(rows.as_deref(), bounds, range.direction, staged.rev()),
        };
        let full = full.map_err(|e| self.store.read_failed(&e))?;
        let mut page = filling.page;
        if full {
            let last = page.entries.last();
            page.cursor = last.map(|last| encode_cursor(range.direction, &last.key));
        }
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

/// A page that is being read.
struct Filling {
    page: Page,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

impl Filling {
    /// Takes the rows of the snapshot and of the transaction as one ordered sequence; where both have a key,
    /// the transaction's row counts. True if the page is full.
    fn fill<'w>(
        &mut self,
        rows: Option<&dyn Rows>,
        bounds: &Bounds,
        direction: Direction,
        staged: impl Iterator<Item = (&'w Bytes, &'w Write)>,
    ) -> Result<bool, ReadError> {
        let mut staged = staged.peekable();
        let first = match direction {
            Direction::Ascending => Ordering::Less,
            Direction::Descending => Ordering::Greater,
        };
        if let Some(rows) = rows {
            rows.scan(borrowed(bounds), direction, &mut |entry| {
                let before = |(key, _): &(&Bytes, _)| (*key).cmp(&entry.key) == first;
                while !self.is_full()
                    && let Some((key, write)) = staged.next_if(before)
                {
                    self.take(key, write);
                }
                if self.is_full() {
                    return ControlFlow::Break(());
                }
                match staged.next_if(|(key, _)| **key == entry.key) {
                    Some((key, write)) => self.take(key, write),
                    None => self.push(entry),
                }
                match self.is_full() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })?;
        }
        while !self.is_full()
            && let Some((key, write)) = staged.next()
        {
            self.take(key, write);
        }
        Ok(self.is_full())
    }

    fn take(&mut self, key: &Bytes, write: &Write) {
        if let Some(Versioned { value, version }) = write.versioned() {
            let key = key.clone();
            self.push(Entry { key, value, version });
        }
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.key.len() + entry.value.len();
        self.page.entries.push(entry);
    }

    fn is_full(&self) -> bool {
        self.page.entries.len() >= self.max_entries || self.bytes >= self.max_bytes
    }
}
