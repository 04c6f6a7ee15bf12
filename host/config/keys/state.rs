//! `[store]`, `[idempotency]`, `[events]` and `[rate_limits]`: what is kept from call to call.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::setting::{
    GIB, KIB, MIB, TIB, bytes, count, count_u32, long_bytes, long_count, millis, optional, path_to, seconds,
    toggle,
};

section! {
    /// The transactional key-value store that plugins keep their state in.
    Store at "store" {
        /// Memory for the store's page cache.
        "cache_bytes" => cache_bytes: usize = bytes(64 * MIB, MIB, TIB);
        /// The longest key, without the plugin's namespace. A plugin that exceeds this or another bound on
        /// one call is told which, and decides how its call ends.
        "max_key_bytes" => max_key_bytes: usize = bytes(KIB, 64, 32 * KIB);
        /// The longest value, and the longest payload of an event.
        "max_value_bytes" => max_value_bytes: usize = bytes(MIB, KIB, GIB);
        /// The most entries in one page of a scan. A plugin that asks for more gets a page of this size
        /// and a cursor.
        "max_scan_entries" => max_scan_entries: usize = count(1000, 1, 100_000);
        /// Bytes of keys and values after which a page of a scan ends.
        "max_scan_bytes" => max_scan_bytes: usize = bytes(4 * MIB, KIB, GIB);
        /// Threads for long reads. The first 128 keys or 64 KiB of a page of a scan, or of many keys at once, are
        /// read where the call runs, and what is left on one of these. While all are busy, further ones wait,
        /// until the deadline of their call.
        "read_threads" => read_threads: usize = count(4, 1, 256);
        /// The most bytes of keys, values and events that one call may write.
        "max_transaction_bytes" => max_transaction_bytes: usize = bytes(8 * MIB, KIB, 2 * GIB);
        /// The most keys read and written, scans and events in one call.
        "max_transaction_operations" => max_transaction_operations: usize = count(10_000, 1, 10_000_000);
        /// How often a handler is run when its transaction meets conflicts, the first time included. Then
        /// the call is answered ABORTED.
        "max_attempts" => max_attempts: u32 = count_u32(5, 1, 100);
        /// The most transactions that wait to be committed. While so many do, further ones are answered
        /// UNAVAILABLE, with nothing changed.
        "commit_queue" => commit_queue: usize = count(1024, 1, 1_000_000);
        /// The most bytes of transactions that wait to be committed, with the same effect.
        "commit_queue_bytes" => commit_queue_bytes: usize = bytes(64 * MIB, MIB, TIB);
        /// For how long at most the changes of plugins with `durability = "relaxed"` are not on the disk.
        "relaxed_window_ms" => relaxed_window: Duration = millis(100, 1, 60_000);
        /// Memory for the keys written since the oldest call in progress began, which find conflicts. When
        /// it is not enough, the calls that have run for longest are run again.
        "conflict_log_bytes" => conflict_log_bytes: usize = bytes(16 * MIB, 64 * KIB, TIB);
    }
}

top_level!(Store);

section! {
    /// Calls that clients mark with `idempotency-key` metadata. A call with the key and the request of an
    /// earlier one gets the recorded answer, and the plugin does not run.
    Idempotency at "idempotency" {
        /// How long answers are kept.
        "retention_s" => retention: Duration = seconds(86_400, 1, 31_536_000);
        /// The most bytes of answers that are kept for one plugin. When there is no room, calls with a new
        /// key are answered UNAVAILABLE, with nothing changed.
        "max_bytes" => max_bytes: u64 = long_bytes(256 * MIB, MIB, TIB);
        /// How long a call waits while another one with the same key runs. Then it is answered ABORTED.
        "max_wait_ms" => max_wait: Duration = millis(10_000, 0, 3_600_000);
        /// How many calls wait for one key. Further ones are answered ABORTED at once.
        "max_waiting" => max_waiting: usize = count(16, 0, 10_000);
    }
}

top_level!(Idempotency);

section! {
    /// Events that plugins publish, and where the host delivers them. Each goes to the log as well, and to
    /// the methods of `[subscriptions.NAME]`.
    Events at "events" {
        /// Whether events are appended to `file`.
        "journal" => journal: bool = toggle(true);
        /// The file that events are appended to, one JSON object on each line.
        "file" => file: Option<PathBuf> = optional("`events.jsonl` in `server.data`", path_to("file", "-"));
        /// The most events that wait for delivery. While so many do, calls that publish are answered
        /// UNAVAILABLE, with nothing changed.
        "max_undelivered" => max_undelivered: u64 = long_count(100_000, 1, 1_000_000_000);
        /// The most bytes of events that wait for delivery, with the same effect.
        "max_undelivered_bytes" => max_undelivered_bytes: u64 = long_bytes(GIB, MIB, 16 * TIB);
        /// The most dead letters that are kept: events that no plugin could take and timers whose calls
        /// failed too often, all together. The oldest make way for new ones.
        "max_dead_letters" => max_dead_letters: u64 = long_count(10_000, 1, 1_000_000_000);
        /// The most bytes of dead letters that are kept, with the same effect.
        "max_dead_letter_bytes" => max_dead_letter_bytes: u64 = long_bytes(64 * MIB, MIB, 16 * TIB);
    }
}

top_level!(Events);

section! {
    /// Rate limits that plugins apply to their callers.
    RateLimits at "rate_limits" {
        /// How many buckets (one for each caller, say) a plugin has room for. Those used least recently
        /// make way; a bucket that did is full when it is used again.
        "max_buckets" => max_buckets: usize = count(100_000, 16, 100_000_000);
    }
}

top_level!(RateLimits);
