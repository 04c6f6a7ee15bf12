use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;

use crate::capability::Namespace;

/// What a transaction has read of its snapshot, absent keys included.
#[derive(Debug, Default)]
pub(super) struct ReadSet {
    keys: Vec<Bytes>,
    /// Inclusive start to exclusive end. Disjoint, so that validating them visits each logged key once,
    /// however often a guest scans the same range.
    ranges: BTreeMap<Bytes, End>,
    bytes: usize,
}

/// One of the things a transaction has read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Read<'r> {
    Key(&'r Bytes),
    Range(&'r Bytes, &'r End),
}

/// Something that a transaction has read and also writes: a key, or a range that it writes into. Of
/// transactions that overlap and have one in common, one commits, as a rule. It is a hash: two that differ
/// may share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rewritten(u64);

/// What remembering a key or range costs besides its bytes, rounded up.
const OVERHEAD: usize = 64;

/// The exclusive end of a range. The order of the variants is the order of the ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Before(Bytes),
    Unbounded,
}

impl End {
    fn bytes(&self) -> usize {
        match self {
            Self::Before(key) => key.len(),
            Self::Unbounded => 0,
        }
    }
}

impl ReadSet {
    pub(super) fn add_key(&mut self, key: Bytes) {
        self.bytes += key.len() + OVERHEAD;
        self.keys.push(key);
    }

    /// Adds a range, merged with those it overlaps or touches.
    pub(super) fn add_range(&mut self, mut start: Bytes, mut end: End) {
        self.bytes += start.len() + end.bytes() + OVERHEAD;
        let left = self.ranges.range(..=start.clone()).next_back();
        if let Some((left_start, left_end)) = left
            && *left_end >= End::Before(start.clone())
        {
            start = left_start.clone();
            end = end.max(left_end.clone());
        }
        while let Some((next, _)) = self.ranges.range(start.clone()..).next()
            && End::Before(next.clone()) <= end
        {
            let next = next.clone();
            if let Some(next_end) = self.ranges.remove(&next) {
                end = end.max(next_end);
            }
        }
        self.ranges.insert(start, end);
    }

    /// An upper bound of the memory it holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Read<'_>> {
        let ranges = self.ranges.iter().map(|(start, end)| Read::Range(start, end));
        self.keys.iter().map(Read::Key).chain(ranges)
    }

    /// What of it `writes` change.
    pub(super) fn written_by<'r, V>(
        &'r self,
        writes: &'r BTreeMap<Bytes, V>,
    ) -> impl Iterator<Item = Read<'r>> {
        self.iter().filter(|read| read.covers_any(writes, |_| true))
    }
}

impl Read<'_> {
    /// Whether it covers a key of `map` whose value passes `test`.
    pub(super) fn covers_any<V>(self, map: &BTreeMap<Bytes, V>, test: impl Fn(&V) -> bool) -> bool {
        match self {
            Self::Key(key) => map.get(key).is_some_and(test),
            Self::Range(start, End::Before(end)) => {
                map.range(start.clone()..end.clone()).any(|(_, v)| test(v))
            }
            Self::Range(start, End::Unbounded) => map.range(start.clone()..).any(|(_, v)| test(v)),
        }
    }

    /// In the plugin's `namespace`. A range goes by its start: calls that scan the same pages read less or
    /// more of it.
    pub(super) fn rewritten(self, namespace: &Namespace, hashing: &RandomState) -> Rewritten {
        let (is_range, key) = match self {
            Self::Key(key) => (false, key),
            Self::Range(start, _) => (true, start),
        };
        Rewritten(hashing.hash_one((namespace, is_range, key)))
    }
}

/// The smallest key greater than `key`.
pub(super) fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(key: &'static str) -> End {
        End::Before(Bytes::from(key))
    }

    fn set(ranges: &[(&'static str, End)]) -> Vec<(Bytes, End)> {
        let mut set = ReadSet::default();
        for (start, end) in ranges {
            set.add_range(Bytes::from(*start), end.clone());
        }
        set.ranges.into_iter().collect()
    }

    #[test]
    fn overlapping_and_touching_ranges_merge() {
        let expected = vec![(Bytes::from("a"), before("k"))];
        assert_eq!(set(&[("a", before("c")), ("c", before("k"))]), expected);
        assert_eq!(set(&[("c", before("k")), ("a", before("c"))]), expected);
        assert_eq!(set(&[("a", before("k")), ("b", before("c"))]), expected);
        assert_eq!(
            set(&[("b", before("c")), ("e", before("f")), ("a", before("k"))]),
            expected
        );
        assert_eq!(
            set(&[("a", before("c")), ("a", before("k")), ("a", before("b"))]),
            expected
        );
    }

    #[test]
    fn distinct_ranges_stay_distinct() {
        assert_eq!(set(&[("a", before("b")), ("c", before("d"))]).len(), 2);
        let all = set(&[("c", before("d")), ("f", before("g")), ("e", End::Unbounded)]);
        assert_eq!(
            all,
            vec![
                (Bytes::from("c"), before("d")),
                (Bytes::from("e"), End::Unbounded)
            ]
        );
    }
}
