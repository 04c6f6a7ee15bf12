use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;

use super::read_set::{Read, ReadSet};
use crate::capability::Namespace;

/// The keys written by recent commits: enough to tell whether anything that a transaction read has changed
/// since its snapshot, without reading the file again.
///
/// It must cover every commit after the oldest snapshot in use. `floor` is the last commit it does *not*
/// cover: a transaction with an older snapshot cannot be judged and counts as in conflict.
pub(super) struct CommitLog {
    /// The last commit that wrote the key.
    written: HashMap<Namespace, BTreeMap<Bytes, u64>>,
    /// Oldest first; tells what to remove from `written` when a commit is forgotten.
    commits: VecDeque<LoggedCommit>,
    floor: u64,
    bytes: usize,
    max_bytes: usize,
}

struct LoggedCommit {
    sequence: u64,
    namespace: Namespace,
    keys: Vec<Bytes>,
    bytes: usize,
}

/// What a logged key costs besides its bytes: two handles to it and its place in the tree, rounded up.
const KEY_OVERHEAD: usize = 128;

impl CommitLog {
    /// `sequence` is the last commit already in the file.
    pub(super) fn new(sequence: u64, max_bytes: usize) -> Self {
        Self {
            written: HashMap::new(),
            commits: VecDeque::new(),
            floor: sequence,
            bytes: 0,
            max_bytes,
        }
    }

    /// Whether anything in `reads` was written after `snapshot`.
    pub(super) fn conflicts(&self, namespace: &Namespace, snapshot: u64, reads: &ReadSet) -> bool {
        if snapshot < self.floor {
            return true;
        }
        let Some(written) = self.written.get(namespace) else {
            return false;
        };
        let newer = |sequence: &u64| *sequence > snapshot;
        reads.iter().any(|read| read.covers_any(written, newer))
    }

    /// Whether what was read is known to have been written after `snapshot`.
    pub(super) fn changed(&self, namespace: &Namespace, snapshot: u64, read: Read<'_>) -> bool {
        let written = self.written.get(namespace);
        written.is_some_and(|written| read.covers_any(written, |sequence| *sequence > snapshot))
    }

    /// Whether `key` was written after `snapshot`.
    pub(super) fn key_conflicts(&self, namespace: &Namespace, snapshot: u64, key: &[u8]) -> bool {
        let written = || self.written.get(namespace)?.get(key);
        snapshot < self.floor || written().is_some_and(|sequence| *sequence > snapshot)
    }

    pub(super) fn record(&mut self, namespace: Namespace, sequence: u64, keys: Vec<Bytes>) {
        if keys.is_empty() {
            return;
        }
        let bytes = keys.iter().map(|key| key.len() + KEY_OVERHEAD).sum();
        let written = self.written.entry(namespace.clone()).or_default();
        for key in &keys {
            written.insert(key.clone(), sequence);
        }
        self.bytes += bytes;
        self.commits.push_back(LoggedCommit {
            sequence,
            namespace,
            keys,
            bytes,
        });
        while self.bytes > self.max_bytes {
            self.forget_oldest();
        }
    }

    /// Memory it takes, as it counts it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops the commits that every snapshot in use already contains.
    pub(super) fn forget_through(&mut self, sequence: u64) {
        while self
            .commits
            .front()
            .is_some_and(|commit| commit.sequence <= sequence)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(commit) = self.commits.pop_front() else {
            return;
        };
        self.floor = commit.sequence;
        self.bytes -= commit.bytes;
        let Some(written) = self.written.get_mut(&commit.namespace) else {
            return;
        };
        for key in &commit.keys {
            if written.get(key) == Some(&commit.sequence) {
                written.remove(key);
            }
        }
        if written.is_empty() {
            self.written.remove(&commit.namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_set::End;
    use super::*;

    fn order() -> Namespace {
        Namespace::new("order").unwrap()
    }

    fn reads(keys: &[&'static str], ranges: &[(&'static str, &'static str)]) -> ReadSet {
        let mut reads = ReadSet::default();
        keys.iter().for_each(|key| reads.add_key(Bytes::from(*key)));
        for (start, end) in ranges {
            reads.add_range(Bytes::from(*start), End::Before(Bytes::from(*end)));
        }
        reads
    }

    fn log(commits: &[(u64, &'static str)]) -> CommitLog {
        let mut log = CommitLog::new(0, 1 << 20);
        for (sequence, key) in commits {
            log.record(order(), *sequence, vec![Bytes::from(*key)]);
        }
        log
    }

    #[test]
    fn only_writes_after_the_snapshot_conflict() {
        let log = log(&[(1, "a"), (2, "b"), (3, "a")]);
        assert!(log.conflicts(&order(), 2, &reads(&["a"], &[])));
        assert!(!log.conflicts(&order(), 3, &reads(&["a"], &[])));
        assert!(!log.conflicts(&order(), 2, &reads(&["b"], &[])));
        assert!(log.conflicts(&order(), 1, &reads(&[], &[("b", "c")])));
        assert!(
            !log.conflicts(&order(), 0, &reads(&["c"], &[("c", "z")])),
            "the end of a range is exclusive"
        );
        let other = Namespace::new("other").unwrap();
        assert!(!log.conflicts(&other, 0, &reads(&["a"], &[])));
    }

    #[test]
    fn forgetting_keeps_what_newer_commits_wrote() {
        let mut log = log(&[(1, "a"), (2, "b"), (3, "a")]);
        log.forget_through(2);
        assert!(log.conflicts(&order(), 2, &reads(&["a"], &[])));
        assert!(!log.conflicts(&order(), 2, &reads(&["b"], &[])));
        assert!(
            log.conflicts(&order(), 1, &reads(&["never-written"], &[])),
            "too old to be judged"
        );
        log.forget_through(3);
        assert_eq!((log.bytes, log.commits.len(), log.written.len()), (0, 0, 0));
    }

    #[test]
    fn a_full_log_declares_the_oldest_snapshots_stale() {
        let mut log = CommitLog::new(0, 3 * (KEY_OVERHEAD + 1));
        for (sequence, key) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
            log.record(order(), sequence, vec![Bytes::from(key)]);
        }
        assert!(log.conflicts(&order(), 0, &reads(&["z"], &[])));
        assert!(!log.conflicts(&order(), 1, &reads(&["z"], &[])));
    }
}
