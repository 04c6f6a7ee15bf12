use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;

use super::{Bounds, Direction, Entry, Page, borrowed, encode_cursor};
use crate::capability::store::backend::{ReadError, Rows};
use crate::capability::store::reads::Most;
use crate::capability::store::transaction::{Versioned, Write};

/// A page that is being read, part by part.
pub(super) struct Scan {
    /// Of the snapshot. None if there are none, or they are all read.
    rows: Option<Arc<dyn Rows>>,
    pub(super) direction: Direction,
    pub(super) bounds: Bounds,
    /// What of them is still to be read.
    left: Bounds,
    page: Page,
    bytes: usize,
    most: Most,
}

impl Scan {
    pub(super) fn new(rows: Option<Arc<dyn Rows>>, direction: Direction, bounds: Bounds, most: Most) -> Self {
        let page = Page::default();
        Self {
            rows,
            direction,
            left: bounds.clone(),
            bounds,
            page,
            bytes: 0,
            most,
        }
    }

    /// What to read next of the snapshot: no more than the page has room for, nor than `most`.
    pub(super) fn next_part(&self, most: Most) -> Part {
        Part {
            rows: self.rows.clone(),
            direction: self.direction,
            bounds: self.left.clone(),
            most: Most {
                count: most.count.min(self.most.count - self.page.entries.len()),
                bytes: most.bytes.min(self.most.bytes - self.bytes),
            },
        }
    }

    /// Takes the rows of a part and what the transaction has written there as one ordered sequence; where both
    /// have a key, the transaction's row counts.
    pub(super) fn take(&mut self, rows: PartRows, writes: &BTreeMap<Bytes, Write>) {
        let part = self.pass(&rows);
        let staged = writes.range::<[u8], _>(borrowed(&part));
        match self.direction {
            Direction::Ascending => self.merge(rows.entries, staged),
            Direction::Descending => self.merge(rows.entries, staged.rev()),
        }
    }

    /// What is left begins behind these rows from now on. Gives the bounds of what they are.
    fn pass(&mut self, rows: &PartRows) -> Bounds {
        let mut part = self.left.clone();
        match rows.entries.last() {
            Some(last) if rows.cut_off => {
                let (part, left) = match self.direction {
                    Direction::Ascending => (&mut part.1, &mut self.left.0),
                    Direction::Descending => (&mut part.0, &mut self.left.1),
                };
                *part = Bound::Included(last.key.clone());
                *left = Bound::Excluded(last.key.clone());
            }
            _ => self.rows = None,
        }
        part
    }

    fn merge<'w>(&mut self, rows: Vec<Entry>, staged: impl Iterator<Item = (&'w Bytes, &'w Write)>) {
        let first = match self.direction {
            Direction::Ascending => Ordering::Less,
            Direction::Descending => Ordering::Greater,
        };
        let mut staged = staged.peekable();
        for row in rows {
            while let Some((key, write)) = staged.next_if(|(key, _)| (*key).cmp(&row.key) == first) {
                self.push_staged(key, write);
            }
            match staged.next_if(|(key, _)| **key == row.key) {
                Some((key, write)) => self.push_staged(key, write),
                None => self.push(row),
            }
        }
        staged.for_each(|(key, write)| self.push_staged(key, write));
    }

    fn push_staged(&mut self, key: &Bytes, write: &Write) {
        if let Some(Versioned { value, version }) = write.versioned() {
            let key = key.clone();
            self.push(Entry { key, value, version });
        }
    }

    /// Adds an entry, if there is room for it.
    fn push(&mut self, entry: Entry) {
        if !self.is_full() {
            self.bytes += entry.bytes();
            self.page.entries.push(entry);
        }
    }

    fn is_full(&self) -> bool {
        self.most.is_reached(self.page.entries.len(), self.bytes)
    }

    /// Whether there is nothing more to read for this page.
    pub(super) fn is_complete(&self) -> bool {
        self.is_full() || self.rows.is_none()
    }

    pub(super) fn into_page(mut self) -> Page {
        if self.is_full() {
            let last = self.page.entries.last();
            self.page.cursor = last.map(|last| encode_cursor(self.direction, &last.key));
        }
        self.page
    }
}

/// Rows of a snapshot that are to be read.
pub(super) struct Part {
    /// None if there are none.
    rows: Option<Arc<dyn Rows>>,
    direction: Direction,
    bounds: Bounds,
    most: Most,
}

/// Rows that were read.
pub(super) struct PartRows {
    /// In the order of the scan.
    entries: Vec<Entry>,
    /// Whether there may be more behind the last of them, which then there is.
    cut_off: bool,
}

impl Part {
    /// Ends early if they are no longer wanted: once `gone` gives true.
    pub(super) fn read(&self, gone: &dyn Fn() -> bool) -> Result<PartRows, ReadError> {
        let (mut entries, mut bytes, mut cut_off) = (Vec::new(), 0, false);
        if let Some(rows) = &self.rows {
            rows.scan(borrowed(&self.bounds), self.direction, &mut |entry| {
                bytes += entry.bytes();
                entries.push(entry);
                cut_off = self.most.is_reached(entries.len(), bytes) || gone();
                match cut_off {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })?;
        }
        Ok(PartRows { entries, cut_off })
    }
}
