use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::deferred::DeferredBounds;
use crate::capability::Namespace;

/// How a [`Store`](super::Store) is opened. Every field is a bound on memory, disk or work.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of memory for the page cache, shared by reads and writes. Default 64 MiB.
    pub cache_bytes: usize,
    /// Threads for long reads; at least 1. While all are busy, further ones wait. Default 4.
    pub read_threads: usize,
    /// Commits that may wait for the committer. A commit that finds the queue full fails as unavailable.
    /// Default 1,024.
    pub max_queued_commits: usize,
    /// Bytes of keys, values and events that may wait for the committer. Default 64 MiB.
    pub max_queued_bytes: usize,
    /// Bytes of memory for the keys written since the oldest snapshot in use, against which commits are
    /// validated. When it is not enough, the calls with the oldest snapshots run again. Default 16 MiB.
    pub max_log_bytes: usize,
    /// Bytes of the write-ahead log after which the database is brought to the disk, at most the 4 MiB that
    /// the log has room for. More of it takes longer at once, and to recover after a crash, and is rarer.
    /// Default all of it.
    pub checkpoint_bytes: usize,
    /// Events that may wait for delivery. When they do, commits that publish fail as unavailable.
    /// Default 100,000.
    pub max_outbox_entries: u64,
    /// Bytes of events that may wait for delivery, with the same effect. Default 1 GiB.
    pub max_outbox_bytes: u64,
    /// How soon after a failure of the disk the store is opened again. Each further attempt waits twice as
    /// long, at most 30 s. Default 1 s.
    pub reopen_after: Duration,
    /// For how long commits with [`Durability::Relaxed`] may be not on the disk. Default 100 ms.
    pub relaxed_window: Duration,
    /// What one call may do, of a plugin that is not among `plugins`.
    pub bounds: Bounds,
    /// What holds for single plugins.
    pub plugins: BTreeMap<Namespace, PluginOptions>,
    /// What is kept of answers to calls with an idempotency key.
    pub answers: AnswerOptions,
    /// What may be left for later.
    pub deferred: DeferredBounds,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            read_threads: 4,
            max_queued_commits: 1_024,
            max_queued_bytes: 64 << 20,
            max_log_bytes: 16 << 20,
            checkpoint_bytes: usize::MAX,
            max_outbox_entries: 100_000,
            max_outbox_bytes: 1 << 30,
            reopen_after: Duration::from_secs(1),
            relaxed_window: Duration::from_millis(100),
            bounds: Bounds::default(),
            plugins: BTreeMap::new(),
            answers: AnswerOptions::default(),
            deferred: DeferredBounds::default(),
        }
    }
}

/// What is kept of answers to calls with an idempotency key.
#[derive(Debug, Clone)]
pub struct AnswerOptions {
    /// How long an answer is kept. Default 1 day.
    pub retention: Duration,
    /// Bytes of answers of one plugin. A commit that would record more fails as unavailable: to forget
    /// answers early instead would let a repeated call run twice. Default 256 MiB.
    pub max_bytes: u64,
    /// What age is counted by. Default the system's clock.
    pub clock: fn() -> SystemTime,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(24 * 60 * 60),
            max_bytes: 256 << 20,
            clock: SystemTime::now,
        }
    }
}

/// What holds for one plugin.
#[derive(Debug, Clone, Default)]
pub struct PluginOptions {
    /// What one call may do.
    pub bounds: Bounds,
    /// What it may keep.
    pub quota: Quota,
    /// When its commits are acknowledged.
    pub durability: Durability,
}

/// When a commit is acknowledged, and seen by other calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on the disk.
    #[default]
    Commit,
    /// Once it is written. It is on the disk, with all before it, at the latest after
    /// [`relaxed_window`](Options::relaxed_window); a crash of the machine before that loses it, whole, and
    /// one of the host does not. Its events are not delivered earlier.
    Relaxed,
}

/// What one plugin may keep. A write that would pass a quota is an [`Error`](crate::capability::Error) that
/// names it; the transaction stays usable. Lowering a quota takes nothing away.
#[derive(Debug, Clone)]
pub struct Quota {
    /// Bytes of keys and values. Default 16 GiB.
    pub max_bytes: u64,
    /// Keys. Default 100 million.
    pub max_keys: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            max_bytes: 16 << 30,
            max_keys: 100_000_000,
        }
    }
}

/// What one transaction may do. Passing a bound is an [`Error`](crate::capability::Error) that names it; the
/// transaction stays usable.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The longest key, in bytes. Default 1,024.
    pub max_key_bytes: usize,
    /// The longest value or event payload, in bytes. Default 1 MiB.
    pub max_value_bytes: usize,
    /// Keys read, keys written, scans and events together. Default 10,000.
    pub max_operations: usize,
    /// Bytes of keys, values and events staged for the commit. Default 8 MiB.
    pub max_staged_bytes: usize,
    /// The most entries in one page of a scan. Default 1,000.
    pub max_page_entries: usize,
    /// Bytes of keys and values after which a page of a scan ends, and the most that `get_many` answers.
    /// Default 4 MiB.
    pub max_page_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_key_bytes: 1_024,
            max_value_bytes: 1 << 20,
            max_operations: 10_000,
            max_staged_bytes: 8 << 20,
            max_page_entries: 1_000,
            max_page_bytes: 4 << 20,
        }
    }
}
