//! The store under test: what is committed, and one transaction over it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::bindings::mortise::plugin::store::{Direction, Entry, Page, Range, Versioned};

/// The longest page, whatever a plugin asks for.
const PAGE_LIMIT: u32 = 1000;

/// Committed entries with the number of the commit that wrote each.
#[derive(Debug, Default)]
pub(super) struct Store {
    entries: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
    commits: u64,
}

/// What the call in progress wrote; none stands for a deletion.
pub(super) type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Store {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, writes: &Writes, key: &[u8]) -> Option<Versioned> {
        if let Some(written) = writes.get(key) {
            return written.clone().map(|value| Versioned { value, version: 0 });
        }
        self.entries.get(key).map(|(value, version)| Versioned {
            value: value.clone(),
            version: *version,
        })
    }

    pub(super) fn scan(&self, writes: &Writes, range: &Range) -> Page {
        let limit = range.limit.min(PAGE_LIMIT) as usize;
        let descending = matches!(range.direction, Direction::Descending);
        // A cursor is the last key of its page.
        let (start, end) = match (&range.cursor, descending) {
            (Some(cursor), false) => (Bound::Excluded(cursor), range.end.as_ref()),
            (Some(cursor), true) => (Bound::Included(&range.start), Some(cursor)),
            (None, _) => (Bound::Included(&range.start), range.end.as_ref()),
        };
        let begin = match start {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => unreachable!("a range has a start"),
        };
        if end.is_some_and(|end| end <= begin) {
            return Page {
                entries: Vec::new(),
                cursor: None,
            };
        }
        let bounds = (start, end.map_or(Bound::Unbounded, Bound::Excluded));
        let keys: BTreeSet<&Vec<u8>> = self
            .entries
            .range::<Vec<u8>, _>(bounds)
            .map(|(key, _)| key)
            .chain(writes.range::<Vec<u8>, _>(bounds).map(|(key, _)| key))
            .collect();
        let keys: Box<dyn Iterator<Item = &Vec<u8>>> = if descending {
            Box::new(keys.into_iter().rev())
        } else {
            Box::new(keys.into_iter())
        };
        let mut found = keys.filter_map(|key| {
            let Versioned { value, version } = self.get(writes, key)?;
            Some(Entry {
                key: key.clone(),
                value,
                version,
            })
        });
        let entries: Vec<Entry> = found.by_ref().take(limit).collect();
        let cursor = found.next().and(entries.last()).map(|last| last.key.clone());
        Page { entries, cursor }
    }

    pub(super) fn commit(&mut self, writes: Writes) {
        if writes.is_empty() {
            return;
        }
        self.commits += 1;
        for (key, value) in writes {
            match value {
                Some(value) => self.entries.insert(key, (value, self.commits)),
                None => self.entries.remove(&key),
            };
        }
    }
}
