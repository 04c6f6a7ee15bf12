use super::deferred::DeferredBounds;

/// How a [`Store`](super::Store) is opened. Every field is a bound on memory, disk or work.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of memory for the page cache, shared by reads and writes. Default 64 MiB.
    pub cache_bytes: usize,
    /// Commits that may wait for the committer. A commit that finds the queue full fails as unavailable.
    /// Default 1,024.
    pub max_queued_commits: usize,
    /// Bytes of keys, values and events that may wait for the committer. Default 64 MiB.
    pub max_queued_bytes: usize,
    /// Bytes of memory for the keys written since the oldest snapshot in use, against which commits are
    /// validated. When it is not enough, the calls with the oldest snapshots run again. Default 16 MiB.
    pub max_log_bytes: usize,
    /// Events that may wait for delivery. When they do, commits that publish fail as unavailable.
    /// Default 100,000.
    pub max_outbox_entries: u64,
    /// Bytes of events that may wait for delivery, with the same effect. Default 1 GiB.
    pub max_outbox_bytes: u64,
    /// What one call may do.
    pub bounds: Bounds,
    /// What may be left for later.
    pub deferred: DeferredBounds,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            max_queued_commits: 1_024,
            max_queued_bytes: 64 << 20,
            max_log_bytes: 16 << 20,
            max_outbox_entries: 100_000,
            max_outbox_bytes: 1 << 30,
            bounds: Bounds::default(),
            deferred: DeferredBounds::default(),
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
