//! The store under test: what is committed, and one call's transaction over it. Bounds and refusals are those
//! of the real host as it is configured by default.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{AddAssign, Bound, SubAssign};
use std::time::{SystemTime, UNIX_EPOCH};

use super::call::Event;
use super::refusal::{invalid, over_limit, read_only};
use super::timers::{StagedTimers, Timers};
use crate::bindings::mortise::plugin::store::{Direction, Entry, Page, Range, Versioned};
use crate::bindings::mortise::plugin::types::Error;

const MAX_KEY_BYTES: usize = 1024;
const MAX_VALUE_BYTES: usize = 1 << 20;
const MAX_OPERATIONS: usize = 10_000;
const MAX_STAGED_BYTES: usize = 8 << 20;
const MAX_PAGE_ENTRIES: usize = 1000;
const MAX_PAGE_BYTES: usize = 4 << 20;
const MAX_TOPIC_BYTES: usize = 256;

/// What the store may keep. The real host's default is more than a test will store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) max_bytes: u64,
    pub(super) max_keys: u64,
}

impl Default for Quota {
    fn default() -> Quota {
        Quota {
            max_bytes: 16 << 30,
            max_keys: 100_000_000,
        }
    }
}

/// By how much writes let keys and bytes grow.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    keys: i64,
    bytes: i64,
}

impl Growth {
    /// Of a value of `after` bytes, or none, in the place of one of `before`.
    fn of(key: &[u8], after: Option<usize>, before: Option<usize>) -> Growth {
        let size = |value: Option<usize>| value.map_or(0, |value| (key.len() + value) as i64);
        Growth {
            keys: i64::from(after.is_some()) - i64::from(before.is_some()),
            bytes: size(after) - size(before),
        }
    }
}

impl AddAssign for Growth {
    fn add_assign(&mut self, other: Growth) {
        self.keys += other.keys;
        self.bytes += other.bytes;
    }
}

impl SubAssign for Growth {
    fn sub_assign(&mut self, other: Growth) {
        self.keys -= other.keys;
        self.bytes -= other.bytes;
    }
}

/// Committed entries with the number of the commit that wrote each.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) quota: Quota,
    entries: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
    kept: Growth,
    pub(super) timers: Timers,
    commits: u64,
}

impl Store {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn check_quota(&self, all: Growth, growth: Growth) -> Result<(), Error> {
        let over =
            |kept: i64, growth: i64, max: u64| growth > 0 && kept > i64::try_from(max).unwrap_or(i64::MAX);
        let Quota { max_bytes, max_keys } = self.quota;
        if over(self.kept.bytes + all.bytes, growth.bytes, max_bytes) {
            let message = "the plugin would keep more bytes than its quota";
            return Err(over_limit(message, max_bytes as usize));
        }
        if over(self.kept.keys + all.keys, growth.keys, max_keys) {
            let message = "the plugin would keep more keys than its quota";
            return Err(over_limit(message, max_keys as usize));
        }
        Ok(())
    }

    /// The committed value at a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(key).map(|(value, _)| value.as_slice())
    }

    /// The committed entries whose keys begin with a prefix.
    pub(super) fn under<'s>(&'s self, prefix: &'s [u8]) -> impl Iterator<Item = (&'s [u8], &'s [u8])> {
        self.entries
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, (value, _))| (key.as_slice(), value.as_slice()))
    }

    /// The events, which have their ids and time now.
    pub(super) fn commit(&mut self, transaction: Transaction, now: SystemTime) -> Vec<Event> {
        let Transaction {
            writes,
            mut events,
            timers,
            growth,
            ..
        } = transaction;
        let is_empty = writes.is_empty() && events.is_empty() && timers.is_empty();
        self.commits += u64::from(!is_empty);
        self.kept += growth;
        self.timers.count_scheduled(&timers);
        self.timers.apply(timers);
        for (index, event) in events.iter_mut().enumerate() {
            event.id = format!("test-{}-{index}", self.commits);
            event.time = now;
        }
        for (key, value) in writes {
            match value {
                Some(value) => self.entries.insert(key, (value, self.commits)),
                None => self.entries.remove(&key),
            };
        }
        events
    }
}

/// What the call in progress read and wrote. Calls run one by one, so the store itself is its snapshot.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    read_only: bool,
    /// None stands for a deletion.
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    events: Vec<Event>,
    /// Of the store, if the call commits.
    growth: Growth,
    timers: StagedTimers,
    hops: u32,
    operations: usize,
    staged_bytes: usize,
}

impl Transaction {
    pub(super) fn new(read_only: bool, hops: u32) -> Transaction {
        Transaction {
            read_only,
            hops,
            ..Transaction::default()
        }
    }

    pub(super) fn get(&mut self, store: &Store, key: &[u8]) -> Result<Option<Versioned>, Error> {
        self.count_operations(1)?;
        check_key(key)?;
        Ok(self.read(store, key))
    }

    pub(super) fn get_many(
        &mut self,
        store: &Store,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Versioned>>, Error> {
        self.count_operations(keys.len())?;
        keys.iter().try_for_each(|key| check_key(key))?;
        let values: Vec<_> = keys.iter().map(|key| self.read(store, key)).collect();
        let bytes: usize = values.iter().flatten().map(|found| found.value.len()).sum();
        if bytes > MAX_PAGE_BYTES {
            return Err(over_limit(
                "these keys hold too many bytes to read at once",
                MAX_PAGE_BYTES,
            ));
        }
        Ok(values)
    }

    pub(super) fn insert(&mut self, store: &Store, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        self.begin_write(key, value)?;
        if self.read(store, key).is_some() {
            return Ok(false);
        }
        self.stage(store, key, Some(value))?;
        Ok(true)
    }

    pub(super) fn put(&mut self, store: &Store, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.begin_write(key, value)?;
        self.stage(store, key, Some(value))
    }

    pub(super) fn delete(&mut self, store: &Store, key: &[u8]) -> Result<bool, Error> {
        self.begin_write(key, &[])?;
        if self.read(store, key).is_none() {
            return Ok(false);
        }
        self.stage(store, key, None)?;
        Ok(true)
    }

    pub(super) fn put_if(
        &mut self,
        store: &Store,
        key: &[u8],
        value: &[u8],
        version: u64,
    ) -> Result<bool, Error> {
        self.begin_write(key, value)?;
        if !self.is_at(store, key, version) {
            return Ok(false);
        }
        self.stage(store, key, Some(value))?;
        Ok(true)
    }

    pub(super) fn delete_if(&mut self, store: &Store, key: &[u8], version: u64) -> Result<bool, Error> {
        self.begin_write(key, &[])?;
        if !self.is_at(store, key, version) {
            return Ok(false);
        }
        self.stage(store, key, None)?;
        Ok(true)
    }

    fn is_at(&self, store: &Store, key: &[u8], version: u64) -> bool {
        self.read(store, key)
            .is_some_and(|found| found.version == version)
    }

    pub(super) fn publish(&mut self, topic: &str, key: &str, payload: &[u8]) -> Result<(), Error> {
        self.begin_write(key.as_bytes(), payload)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if topic.is_empty() || topic.len() > MAX_TOPIC_BYTES || !topic.chars().all(allowed) {
            return Err(invalid(
                "an event's topic must be 1 to 256 ASCII letters, digits, `.`, `-` or `_`",
            ));
        }
        self.stage_bytes(topic.len() + key.len() + payload.len())?;
        self.events.push(Event {
            // It gets these when it is committed.
            id: String::new(),
            time: UNIX_EPOCH,
            topic: topic.into(),
            key: key.into(),
            payload: payload.into(),
            hops: self.hops,
        });
        Ok(())
    }

    pub(super) fn schedule(
        &mut self,
        store: &Store,
        when: u64,
        method: &str,
        request: &[u8],
    ) -> Result<String, Error> {
        self.begin_write(&[], &[])?;
        let id = self
            .timers
            .schedule(&store.timers, when, method, request, self.hops)?;
        self.stage_bytes(method.len() + request.len())?;
        Ok(id)
    }

    pub(super) fn cancel(&mut self, store: &Store, id: &str) -> Result<bool, Error> {
        self.begin_write(&[], &[])?;
        Ok(self.timers.settle(&store.timers, id))
    }

    /// The timer that this call is made for is there no more once it has committed.
    pub(super) fn settle(&mut self, store: &Store, id: &str) {
        self.timers.settle(&store.timers, id);
    }

    pub(super) fn scan(&mut self, store: &Store, range: &Range) -> Result<Page, Error> {
        self.count_operations(1)?;
        check_range(range)?;
        if range.end.as_ref() == Some(&range.start) {
            return Ok(Page {
                entries: Vec::new(),
                cursor: None,
            });
        }
        let (start, end) = bounds(range)?;
        let keys: BTreeSet<&Vec<u8>> = {
            let range = (start.as_ref(), end.as_ref());
            let stored = store.entries.range::<Vec<u8>, _>(range).map(|(key, _)| key);
            stored
                .chain(self.writes.range::<Vec<u8>, _>(range).map(|(key, _)| key))
                .collect()
        };
        let mut keys: Box<dyn Iterator<Item = &Vec<u8>>> = match range.direction {
            Direction::Ascending => Box::new(keys.into_iter()),
            Direction::Descending => Box::new(keys.into_iter().rev()),
        };
        let limit = MAX_PAGE_ENTRIES.min(range.limit as usize);
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        // As with the real host, a page that is full does not know whether it is the last.
        while entries.len() < limit && bytes < MAX_PAGE_BYTES {
            let Some(key) = keys.next() else {
                return Ok(Page {
                    entries,
                    cursor: None,
                });
            };
            let Some(Versioned { value, version }) = self.read(store, key) else {
                continue;
            };
            bytes += key.len() + value.len();
            entries.push(Entry {
                key: key.clone(),
                value,
                version,
            });
        }
        let cursor = entries.last().map(|last| cursor(&range.direction, &last.key));
        Ok(Page { entries, cursor })
    }

    fn read(&self, store: &Store, key: &[u8]) -> Option<Versioned> {
        match self.writes.get(key) {
            Some(written) => written.clone().map(|value| Versioned { value, version: 0 }),
            None => store.entries.get(key).map(|(value, version)| Versioned {
                value: value.clone(),
                version: *version,
            }),
        }
    }

    fn begin_write(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if self.read_only {
            return Err(read_only());
        }
        self.count_operations(1)?;
        check_key(key)?;
        if value.len() > MAX_VALUE_BYTES {
            let message = format!("a value of {} bytes is too long", value.len());
            return Err(over_limit(message, MAX_VALUE_BYTES));
        }
        Ok(())
    }

    fn stage(&mut self, store: &Store, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let size = |value: Option<&[u8]>| key.len() + value.map_or(0, <[u8]>::len);
        let replaced = self.writes.get(key).map_or(0, |old| size(old.as_deref()));
        self.staged_bytes -= replaced;
        if let Err(error) = self.stage_bytes(size(value)) {
            self.staged_bytes += replaced;
            return Err(error);
        }
        if let Err(error) = self.count_growth(store, key, value) {
            self.staged_bytes = self.staged_bytes - size(value) + replaced;
            return Err(error);
        }
        self.writes.insert(key.to_owned(), value.map(<[u8]>::to_owned));
        Ok(())
    }

    /// Counts a write, unless it lets the store grow beyond its quota.
    fn count_growth(&mut self, store: &Store, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let kept = store.entries.get(key).map(|(value, _)| value.len());
        let mut growth = Growth::of(key, value.map(<[u8]>::len), kept);
        if let Some(staged) = self.writes.get(key) {
            growth -= Growth::of(key, staged.as_ref().map(Vec::len), kept);
        }
        let mut all = self.growth;
        all += growth;
        store.check_quota(all, growth)?;
        self.growth = all;
        Ok(())
    }

    fn stage_bytes(&mut self, bytes: usize) -> Result<(), Error> {
        if bytes > MAX_STAGED_BYTES - self.staged_bytes {
            return Err(over_limit("the call stages too many bytes", MAX_STAGED_BYTES));
        }
        self.staged_bytes += bytes;
        Ok(())
    }

    fn count_operations(&mut self, count: usize) -> Result<(), Error> {
        if count > MAX_OPERATIONS - self.operations {
            return Err(over_limit(
                "the call does too many store operations",
                MAX_OPERATIONS,
            ));
        }
        self.operations += count;
        Ok(())
    }
}

fn check_key(key: &[u8]) -> Result<(), Error> {
    if key.len() > MAX_KEY_BYTES {
        return Err(over_limit(
            format!("a key of {} bytes is too long", key.len()),
            MAX_KEY_BYTES,
        ));
    }
    Ok(())
}

type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

fn check_range(range: &Range) -> Result<(), Error> {
    check_key(&range.start)?;
    if let Some(end) = &range.end {
        check_key(end)?;
        if *end < range.start {
            return Err(invalid("the range is reversed: its end lies before its start"));
        }
    }
    if range.limit == 0 {
        return Err(invalid("the limit of a scan must be at least 1"));
    }
    Ok(())
}

/// The part of a range that its cursor leaves. An empty one is written as a range that contains nothing.
fn bounds(range: &Range) -> Result<Bounds, Error> {
    let mut start = Bound::Included(range.start.clone());
    let mut end = range.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
    if let Some(cursor) = &range.cursor {
        let last = last_key(range, cursor)?;
        match range.direction {
            Direction::Ascending => start = Bound::Excluded(last),
            Direction::Descending => end = Bound::Excluded(last),
        }
    }
    if let (Bound::Excluded(first), Bound::Excluded(past)) = (&start, &end)
        && first == past
    {
        // A map refuses a range that excludes both of its equal bounds.
        start = Bound::Included(first.clone());
    }
    Ok((start, end))
}

/// A cursor is the direction and the last key of its page.
fn cursor(direction: &Direction, last: &[u8]) -> Vec<u8> {
    let tag = match direction {
        Direction::Ascending => 1,
        Direction::Descending => 2,
    };
    [&[tag], last].concat()
}

fn last_key(range: &Range, cursor_bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let last = cursor_bytes.get(1..).unwrap_or_default().to_vec();
    let inside = last >= range.start && range.end.as_ref().is_none_or(|end| last < *end);
    if inside && cursor(&range.direction, &last) == cursor_bytes {
        return Ok(last);
    }
    Err(invalid(
        "the cursor is not one that a page of this range and direction gave",
    ))
}
