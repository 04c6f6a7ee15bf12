//! Every figure that the host shows: the one source for the page that is collected, for `docs/metrics.md` and
//! for the test that holds each to its value. To add one, add a row here and show it in `collect.rs`.

/// What a metric is (OpenMetrics 1.0, "Metric Types").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up, from 0 at the start of the host. Samples end in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size. Samples end in `_bucket`, `_sum` and `_count`.
    Histogram,
    /// Always 1; the labels are what it says. Samples end in `_info`.
    Info,
}

impl Kind {
    /// The name that the standard has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// One row.
#[derive(Debug)]
pub struct Metric {
    /// Without the ending that samples get by their kind.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

impl Metric {
    /// The unit, which is the end of the name.
    pub fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"].into_iter().find(|unit| {
            let stem = self.name.strip_suffix(unit);
            stem.is_some_and(|stem| stem.ends_with('_'))
        })
    }

    /// Whether its values are durations.
    pub fn is_duration(&self) -> bool {
        self.unit() == Some("seconds")
    }

    /// The name that a sample has; for a histogram, that of its count.
    pub fn sample_name(&self) -> String {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
            Kind::Histogram => "_count",
            Kind::Info => "_info",
        };
        format!("{}{suffix}", self.name)
    }
}

macro_rules! table {
    ($( $(#[doc = $help:literal])+ $row:ident = $kind:ident $name:literal [$($label:literal),*]; )+) => {
        $(
            $(#[doc = $help])+
            pub static $row: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: concat!($($help),+).trim_ascii(),
            };
        )+

        /// All rows.
        pub const ALL: &[&Metric] = &[$( &$row ),+];
    };
}

table! {
    /// Calls that were routed to a plugin and have ended, by the status the client got. One whose client went away is CANCELLED.
    CALLS = Counter "mortise_calls" ["plugin", "generation", "method", "code"];
    /// Time from the headers of a call to its answer, or to its end without one.
    CALL_SECONDS = Histogram "mortise_call_seconds" ["plugin", "generation", "method"];
    /// Calls that were routed and have not ended.
    CALLS_IN_FLIGHT = Gauge "mortise_calls_in_flight" ["plugin", "generation"];
    /// Calls that have ended in all generations of a plugin together, including those no longer shown.
    PLUGIN_CALLS = Counter "mortise_plugin_calls" ["plugin", "code"];
    /// Calls that reached no plugin, failed ones of health and reflection among them, by the reason of the status they
    /// got.
    UNROUTED_CALLS = Counter "mortise_unrouted_calls" ["reason"];
    /// Routed calls that the host itself ended, by the reason of the status.
    HOST_STATUSES = Counter "mortise_host_statuses" ["plugin", "generation", "reason"];
    /// Times that a handler ran again because its transaction met a conflict.
    CALL_RETRIES = Counter "mortise_call_retries" ["plugin", "generation", "method"];
    /// Attempts whose transaction met a conflict, or made way for one: the retries, and the last attempts of calls that were given up.
    CALL_CONFLICTS = Counter "mortise_call_conflicts" ["plugin", "generation", "method"];
    /// Calls that took longer than log.slow_call_ms.
    SLOW_CALLS = Counter "mortise_slow_calls" ["plugin", "generation"];

    /// Time that calls waited for their turn, those that did not wait and those that were refused included.
    QUEUE_SECONDS = Histogram "mortise_queue_seconds" ["plugin", "generation"];
    /// Calls that wait for their turn now.
    QUEUE_LENGTH = Gauge "mortise_queue_length" [];
    /// Calls that were not let in, by the reason of the status they got.
    ADMISSION_REFUSALS = Counter "mortise_admission_refusals" ["plugin", "generation", "reason"];
    /// Calls that hold one of server.max_concurrent_calls now.
    CALLS_ADMITTED = Gauge "mortise_calls_admitted" [];
    /// server.max_concurrent_calls.
    CALLS_ADMITTED_MAX = Gauge "mortise_calls_admitted_max" [];

    /// Sandboxes that exist: running, idle, and of plugins that describe themselves.
    SANDBOXES = Gauge "mortise_sandboxes" [];
    /// Sandboxes that wait for their next call: renewed ones, or those of isolation = "reuse".
    SANDBOXES_IDLE = Gauge "mortise_sandboxes_idle" ["plugin", "generation"];
    /// Time that sandboxes held a processor: made, running the plugin's code, and in the host functions it calls.
    GUEST_CPU_SECONDS = Counter "mortise_guest_cpu_seconds" ["plugin", "generation", "method"];
    /// The most linear memory that any sandbox had at the end of a call.
    GUEST_MEMORY_PEAK_BYTES = Gauge "mortise_guest_memory_peak_bytes" ["plugin", "generation"];
    /// Times that a sandbox's linear memory grew during a call. Each costs more than an ordinary call.
    GUEST_MEMORY_GROWTHS = Counter "mortise_guest_memory_growths" ["plugin", "generation"];
    /// Sandboxes that stopped in the middle of a call: unreachable (a panic or an abort), stack_overflow, memory_out_of_bounds (also a stack in memory that was used up), out_of_memory, exit or other. Deadlines are no traps; they are among the host's statuses.
    TRAPS = Counter "mortise_traps" ["plugin", "generation", "kind"];

    /// The generation that new calls go to; 0 before the first is live.
    LIVE_GENERATION = Gauge "mortise_live_generation" ["plugin"];
    /// A generation that is loaded, or was among the last that were.
    GENERATION = Info "mortise_generation" ["plugin", "generation", "state", "version", "digest"];
    /// Times that a plugin's file was looked at, by what came of it: live, unchanged or refused.
    PLUGIN_LOADS = Counter "mortise_plugin_loads" ["plugin", "outcome"];
    /// 1 if the plugin's file was refused when it was last looked at, else 0.
    PLUGIN_REFUSED = Gauge "mortise_plugin_refused" ["plugin"];
    /// Generations that were dropped after their last call.
    GENERATIONS_UNLOADED = Counter "mortise_generations_unloaded" ["plugin"];
    /// Time from reading a file to its generation being live, or to its refusal.
    PLUGIN_LOAD_SECONDS = Histogram "mortise_plugin_load_seconds" ["plugin"];
    /// Time that compiling a component took. One that is in the cache is not compiled.
    PLUGIN_COMPILE_SECONDS = Histogram "mortise_plugin_compile_seconds" ["plugin"];
    /// Components looked up in the cache of compiled plugins, by what came of it: hit or miss.
    COMPILE_CACHE_LOOKUPS = Counter "mortise_compile_cache_lookups" ["plugin", "outcome"];

    /// 1 while the store takes commits, 0 while it has failed or is closed.
    STORE_UP = Gauge "mortise_store_up" [];
    /// Transactions that were committed.
    STORE_COMMITS = Counter "mortise_store_commits" [];
    /// Transactions that were refused because something they had read was changed by another.
    STORE_CONFLICTS = Counter "mortise_store_conflicts" [];
    /// Calls that wait for another one: that reads and writes the same (key), or with the same idempotency-key.
    TURNS_WAITING = Gauge "mortise_turns_waiting" ["over"];
    /// Time that calls have waited so. Most need not and do not count.
    TURN_SECONDS = Histogram "mortise_turn_seconds" ["over"];
    /// Time from submitting a transaction to its being acknowledged: durable, unless its plugin is relaxed.
    STORE_COMMIT_SECONDS = Histogram "mortise_store_commit_seconds" [];
    /// Time that writing a group of transactions took, disk included unless all were relaxed.
    STORE_GROUP_SECONDS = Histogram "mortise_store_group_seconds" [];
    /// Transactions that were written together.
    STORE_GROUP_COMMITS = Histogram "mortise_store_group_commits" [];
    /// Transactions that wait to be committed, in bytes of keys, values and events.
    STORE_QUEUE_BYTES = Gauge "mortise_store_queue_bytes" [];
    /// Memory for the keys that find conflicts, bounded by store.conflict_log_bytes.
    STORE_CONFLICT_LOG_BYTES = Gauge "mortise_store_conflict_log_bytes" [];
    /// The write-ahead log, which ends with a checkpoint.
    STORE_LOG_BYTES = Gauge "mortise_store_log_bytes" [];
    /// The store's file.
    STORE_FILE_BYTES = Gauge "mortise_store_file_bytes" [];

    /// Keys in a plugin's part of the store.
    STORE_KEYS = Gauge "mortise_store_keys" ["plugin"];
    /// Those keys and their values.
    STORE_DATA_BYTES = Gauge "mortise_store_data_bytes" ["plugin"];
    /// Answers recorded under idempotency keys.
    RECORDED_ANSWERS = Gauge "mortise_recorded_answers" ["plugin"];
    /// The same in bytes, bounded by idempotency.max_bytes.
    RECORDED_ANSWERS_BYTES = Gauge "mortise_recorded_answers_bytes" ["plugin"];
    /// Calls that were answered as an earlier one with the same idempotency-key was.
    REPLAYED_ANSWERS = Counter "mortise_replayed_answers" [];

    /// Events that were committed.
    EVENTS_PUBLISHED = Counter "mortise_events_published" ["plugin"];
    /// Events that a sink has taken. One that it is given again, after a crash say, counts again.
    EVENTS_DELIVERED = Counter "mortise_events_delivered" ["sink"];
    /// Batches of events that a sink did not take.
    EVENT_FAILURES = Counter "mortise_event_failures" ["sink"];
    /// The age of the oldest event that a sink has not taken; 0 if it has all.
    EVENT_LAG_SECONDS = Gauge "mortise_event_lag_seconds" ["sink"];
    /// Events that not every sink has taken.
    EVENTS_UNDELIVERED = Gauge "mortise_events_undelivered" [];
    /// The same in bytes.
    EVENTS_UNDELIVERED_BYTES = Gauge "mortise_events_undelivered_bytes" [];

    /// Events that a subscription's method has taken.
    SUBSCRIPTION_DELIVERIES = Counter "mortise_subscription_deliveries" ["subscription"];
    /// Calls of a subscription's method that failed. Each event is tried several times.
    SUBSCRIPTION_FAILURES = Counter "mortise_subscription_failures" ["subscription"];
    /// Calls that were given up, events and timers, since the host started.
    DEAD_LETTERS_ADDED = Counter "mortise_dead_letters_added" [];
    /// Dead letters that made way for newer ones.
    DEAD_LETTERS_DROPPED = Counter "mortise_dead_letters_dropped" [];
    /// Dead letters that are kept, until they are tried again or dropped.
    DEAD_LETTERS = Gauge "mortise_dead_letters" [];
    /// The same in bytes.
    DEAD_LETTER_BYTES = Gauge "mortise_dead_letter_bytes" [];

    /// Timers that have not been settled, and events that are tried again.
    TIMERS_PENDING = Gauge "mortise_timers_pending" ["plugin"];
    /// The same in bytes.
    TIMERS_PENDING_BYTES = Gauge "mortise_timers_pending_bytes" ["plugin"];
    /// For how long the first of them has been due; 0 if none is.
    TIMER_LAG_SECONDS = Gauge "mortise_timer_lag_seconds" ["plugin"];
    /// Calls of timers, and of events that were tried again, that succeeded.
    TIMERS_FIRED = Counter "mortise_timers_fired" ["plugin"];
    /// Such calls that failed. Each is tried several times.
    TIMER_FAILURES = Counter "mortise_timer_failures" ["plugin"];

    /// Calls of a plugin to a target, by the status the plugin got and by who made it, the target or the host.
    UPSTREAM_CALLS = Counter "mortise_upstream_calls" ["plugin", "target", "origin", "code"];
    /// Time that a plugin's calls to a target took, waiting for their turn and repetitions included.
    UPSTREAM_CALL_SECONDS = Histogram "mortise_upstream_call_seconds" ["plugin", "target"];
    /// Repetitions of a plugin's calls to a target.
    UPSTREAM_RETRIES = Counter "mortise_upstream_retries" ["plugin", "target"];
    /// 1 while the target is left alone, by all plugins, because it kept failing, else 0.
    UPSTREAM_BREAKER_OPEN = Gauge "mortise_upstream_breaker_open" ["target"];

    /// Client connections that were accepted.
    CONNECTIONS_ACCEPTED = Counter "mortise_connections_accepted" [];
    /// Client connections that are open.
    CONNECTIONS_OPEN = Gauge "mortise_connections_open" [];
    /// Client connections that the system did not hand over (not_accepted), or that were closed for what their clients did: too_many, no_proxy_header, too_slow, takes_nothing, flood, http2 (a bound of the protocol).
    CONNECTIONS_REFUSED = Counter "mortise_connections_refused" ["reason"];
    /// Connections that ended in the TLS handshake, by why: failed or timeout.
    TLS_HANDSHAKE_FAILURES = Counter "mortise_tls_handshake_failures" ["reason"];

    /// The host's version.
    BUILD = Info "mortise_build" ["version"];
    /// 1 once the host was asked to end, else 0.
    DRAINING = Gauge "mortise_draining" [];
    /// Processor time of the host, user and system.
    PROCESS_CPU_SECONDS = Counter "process_cpu_seconds" [];
    /// Memory in use, as the system counts it.
    PROCESS_RESIDENT_MEMORY_BYTES = Gauge "process_resident_memory_bytes" [];
    /// Address space. It is large, because that of all sandboxes is reserved at the start.
    PROCESS_VIRTUAL_MEMORY_BYTES = Gauge "process_virtual_memory_bytes" [];
    /// Open file descriptors.
    PROCESS_OPEN_FDS = Gauge "process_open_fds" [];
    /// The most file descriptors that the process may have open.
    PROCESS_MAX_FDS = Gauge "process_max_fds" [];
    /// Threads.
    PROCESS_THREADS = Gauge "process_threads" [];
    /// When the host started, since the Unix epoch.
    PROCESS_START_TIME_SECONDS = Gauge "process_start_time_seconds" [];
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_follow_the_standard() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "a name stands twice");
        for metric in ALL {
            let name = metric.name;
            assert!(
                name.starts_with("mortise_") || name.starts_with("process_"),
                "{name}"
            );
            assert!(
                name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()),
                "{name}"
            );
            for suffix in ["_total", "_info", "_count", "_sum", "_bucket", "_created"] {
                assert!(
                    !name.ends_with(suffix),
                    "{name}: its samples get an ending by their kind"
                );
            }
            assert!(
                metric.help.ends_with('.') && !metric.help.contains('\n'),
                "{name}"
            );
        }
    }
}
