use std::collections::BTreeMap;

use bytes::Bytes;

/// What a transaction has read of its snapshot, absent keys included.
#[derive(Debug, Default)]
pub(super) struct ReadSet {
    keys: Vec<Bytes>,
    /// Inclusive start to exclusive end. Disjoint, so that validating them visits each logged key once,
    /// however often a guest scans the same range.
    ranges: BTreeMap<Bytes, End>,
    bytes: usize,
}

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

    pub(super) fn keys(&self) -> &[Bytes] {
        &self.keys
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = (&Bytes, &End)> {
        self.ranges.iter()
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
        set.ranges().map(|(s, e)| (s.clone(), e.clone())).collect()
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
