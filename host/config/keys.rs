//! The table of keys: the one source for reading, checking and defaulting the configuration and for its
//! reference and schema. To add a key, add a line here.
//!
//! Each entry reads `"key in the file" => field: type = kind(default, minimum, maximum);` and cannot do
//! without a doc comment, which is its entry in the reference. A key's unit stands in its name.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Uri};
use toml::de::DeTable;

use super::reader::{Reader, join};
use super::setting::{
    AllowedMethods, Choices, Description, FreeTable, GIB, Grants, KIB, MIB, MetadataKeys, Origins, Setting,
    TIB, Url, address, bytes, choice, choices, count, count_u32, log_filter, long_bytes, long_count, millis,
    optional, path_to, seconds, toggle,
};
use super::value::ConfigValue;
use crate::capability::upstream::AllowedMethod;
use crate::server::Encoding;

/// A section as the reference and the schema see it.
pub(super) struct Section {
    /// `server`, or `plugins.NAME` for a section that each of several has.
    pub(super) path: &'static str,
    pub(super) doc: &'static str,
    pub(super) keys: fn() -> Vec<Key>,
    names: &'static [&'static str],
}

impl Section {
    /// The section's own name, or `plugins`.
    pub(super) fn top(&self) -> &'static str {
        self.path.split('.').next().unwrap_or(self.path)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.names.contains(&key)
    }
}

/// A key as the reference and the schema see it.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) description: Description,
}

/// Every section, in the order of the reference.
pub(super) const SECTIONS: &[Section] = &[
    Server::SECTION,
    Store::SECTION,
    Events::SECTION,
    RateLimits::SECTION,
    Log::SECTION,
    Cache::SECTION,
    Engine::SECTION,
    Plugin::SECTION,
    Upstream::SECTION,
    MethodDeadlines::SECTION,
];

macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        $name:ident at $path:literal {
            $( $(#[doc = $key_doc:literal])+ $key:literal => $field:ident: $type:ty = $setting:expr; )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone)]
        pub struct $name {
            $( $(#[doc = $key_doc])+ pub $field: $type, )+
        }

        impl $name {
            pub(super) const SECTION: Section = Section {
                path: $path,
                doc: concat!($($doc, "\n"),+),
                keys: || vec![$( Key {
                    name: $key,
                    doc: concat!($($key_doc, "\n"),+),
                    description: $setting.describe(),
                } ),+],
                names: &[$( $key ),+],
            };

            /// Reads the section that stands at `path`; what is absent gets its default.
            fn read_table<'s>(reader: &mut Reader<'s>, table: Option<&DeTable<'s>>, path: &str) -> Self {
                if let Some(table) = table {
                    reader.refuse_unknown(table, path, Self::SECTION.names);
                }
                $name { $( $field: reader.setting(table, path, $key, &$setting) ),+ }
            }

            #[allow(dead_code, reason = "some sections only come from a file")]
            fn defaults() -> Self {
                $name { $( $field: $setting.default() ),+ }
            }
        }
    };
}

/// For sections that stand once in the file, all of whose keys have a default.
macro_rules! top_level {
    ($($name:ident)+) => { $(
        impl $name {
            /// Reads the section from the document; what is absent gets its default.
            pub(super) fn read<'s>(reader: &mut Reader<'s>, root: &DeTable<'s>) -> Self {
                let table = reader.table(root, "", Self::SECTION.path);
                Self::read_table(reader, table, Self::SECTION.path)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name::defaults()
            }
        }
    )+ };
}

top_level!(Server Store Events RateLimits Log Cache Engine);

section! {
    /// How the host listens, and the bounds on what clients may ask of it.
    Server at "server" {
        /// The address that gRPC and gRPC-Web are served on. `[::]` takes IPv6 and IPv4 on every interface; on
        /// a machine without IPv6 it means `0.0.0.0`. The flag `--listen` wins over this key.
        "listen" => listen: SocketAddr =
            address(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 50051, 0, 0)));
        /// The host's certificate in PEM, followed by those that issued it, without the root. With it and
        /// `tls_key` the host speaks TLS 1.2 and 1.3, and nothing else. Read at start.
        "tls_certificate" => tls_certificate: Option<PathBuf> =
            optional("the host speaks without TLS", path_to("file", "-"));
        /// The private key of `tls_certificate` in PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted.
        "tls_key" => tls_key: Option<PathBuf> =
            optional("the host speaks without TLS", path_to("file", "-"));
        /// Certificates in PEM of those who issue certificates to clients. With it, a client that shows none
        /// from them is refused in the handshake.
        "tls_client_ca" => tls_client_ca: Option<PathBuf> =
            optional("clients are asked for no certificate", path_to("file", "-"));
        /// How long a TLS handshake may take before the connection is closed.
        "tls_handshake_timeout_ms" => tls_handshake_timeout: Duration = millis(10_000, 1, 600_000);
        /// Web pages that browsers let call the host by gRPC-Web, by their origin.
        "grpc_web_origins" => grpc_web_origins: Vec<String> = Origins;
        /// Compressions that requests may use and that answers are sent in, the preferred one first. An
        /// answer has the one of its request where the client accepts that, else the first that it accepts.
        /// A request in another one is answered UNIMPLEMENTED.
        "compression" => compression: Vec<Encoding> = choices(&Encoding::ALL);
        /// The smallest answer that is compressed. A plugin's `compress_min_bytes` wins over this key.
        "compress_min_bytes" => compress_min_bytes: usize = bytes(KIB, 0, GIB);
        /// Whether a status that the host itself makes says its reason in a detail, a
        /// `google.rpc.ErrorInfo` of the domain `mortise`. Details that plugins add are always sent.
        "error_details" => error_details: bool = toggle(true);
        /// The folder for everything the host keeps: the store, events and compiled plugins. It is created
        /// if absent, readable by its owner alone, and used by one host at a time. The flag `--data` wins
        /// over this key. The default is relative to the working directory.
        "data" => data: PathBuf = path_to("folder", "mortise-data");
        /// Threads that serve calls and run plugins.
        "worker_threads" => worker_threads: Option<usize> = optional("one per CPU", count(1, 1, 1024));
        /// The largest request message, after its encoding is undone. A larger one is answered
        /// RESOURCE_EXHAUSTED without being read to its end.
        "max_request_bytes" => max_request_bytes: usize = bytes(10 * MIB, 1, GIB);
        /// The largest response message. A plugin that answers with a larger one has failed the call:
        /// RESOURCE_EXHAUSTED, and nothing is committed.
        "max_response_bytes" => max_response_bytes: usize = bytes(10 * MIB, 1, GIB);
        /// The largest request header list, counted as HTTP/2 counts it: names, values and 32 bytes for
        /// each entry. It is announced to clients.
        "max_metadata_bytes" => max_metadata_bytes: usize = bytes(16 * KIB, KIB, MIB);
        /// The most entries of request metadata, and of the initial and the trailing metadata that a plugin
        /// may answer with.
        "max_metadata_entries" => max_metadata_entries: usize = count(128, 16, 4096);
        /// The largest metadata that a plugin may answer with, initial and trailing together, counted as
        /// HTTP/2 counts it. Stock clients refuse more than 8 KiB.
        "max_response_metadata_bytes" => max_response_metadata_bytes: usize = bytes(8 * KIB, KIB, MIB);
        /// The most open client connections. Further ones wait in the kernel's backlog.
        "max_connections" => max_connections: usize = count(10_000, 1, 1_000_000);
        /// The most calls in progress on one connection. It is announced to clients, which hold further
        /// calls back themselves.
        "max_streams_per_connection" => max_streams_per_connection: u32 = count_u32(1000, 1, 100_000);
        /// The most calls running in sandboxes at once, over all plugins. Address space and stacks for
        /// this many sandboxes are reserved at start-up. More than about 10,000 exceed what Linux lets a
        /// process map by default.
        "max_concurrent_calls" => max_concurrent_calls: usize = count(1000, 1, 10_000);
        /// The most calls waiting for a sandbox. Further ones are answered UNAVAILABLE at once.
        "max_queued_calls" => max_queued_calls: usize = count(1000, 0, 100_000);
        /// How long a connection may be idle before the host sends an HTTP/2 ping; 0 sends none.
        "keepalive_interval_s" => keepalive_interval: Duration = seconds(30, 0, 86_400);
        /// How long a ping may stay unanswered before the connection is closed.
        "keepalive_timeout_s" => keepalive_timeout: Duration = seconds(10, 1, 3600);
        /// Whether several hosts may listen on the same address, each with a data folder of its own; the
        /// kernel spreads connections over them. With it a host can be replaced without a gap: start the
        /// new one, and stop the old one when the new one is ready.
        "reuse_port" => reuse_port: bool = toggle(false);
        /// How long a connection is used. Then its client is told to open another one, as load balancers and
        /// new hosts need it. Calls in progress finish within `max_connection_age_grace_s`.
        "max_connection_age_s" => max_connection_age: Option<Duration> =
            optional("no maximum", seconds(1, 1, 31_536_000));
        /// How long calls may go on when their connection has reached its age, before it is cut.
        "max_connection_age_grace_s" => max_connection_age_grace: Duration = seconds(60, 1, 86_400);
        /// The deadline of a call that brings none. `[deadlines.NAME]` sets others for services and methods.
        "default_deadline_ms" => default_deadline: Option<Duration> =
            optional("such a call may run for as long as `max_deadline_ms` allows", millis(1, 1, 86_400_000));
        /// The longest a call may take. A longer `grpc-timeout` is cut to it. `[deadlines.NAME]` sets others
        /// for services and methods.
        "max_deadline_ms" => max_deadline: Option<Duration> =
            optional("no maximum", millis(1, 1, 86_400_000));
        /// On shutdown: how long the host goes on accepting calls while its health is NOT_SERVING, so that
        /// load balancers notice first.
        "drain_delay_ms" => drain_delay: Duration = millis(0, 0, 600_000);
        /// On shutdown, after the delay: how long calls in progress may take before they are cancelled.
        "drain_timeout_ms" => drain_timeout: Duration = millis(30_000, 0, 3_600_000);
        /// Whether the gRPC reflection service (v1 and v1alpha) describes the services of the plugins.
        /// `mortise call` needs it.
        "reflection" => reflection: bool = toggle(true);
    }
}

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
        /// Memory for the keys written since the oldest call in progress began, which find conflicts. When
        /// it is not enough, the calls that have run for longest are run again.
        "conflict_log_bytes" => conflict_log_bytes: usize = bytes(16 * MIB, 64 * KIB, TIB);
    }
}

section! {
    /// Events that plugins publish, and where the host delivers them. Each goes to the log as well.
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
    }
}

section! {
    /// Rate limits that plugins apply to their callers.
    RateLimits at "rate_limits" {
        /// How many buckets (one for each caller, say) a plugin has room for. Those used least recently
        /// make way; a bucket that did is full when it is used again.
        "max_buckets" => max_buckets: usize = count(100_000, 16, 100_000_000);
    }
}

section! {
    /// The host's own log, on standard error.
    Log at "log" {
        /// How lines look: `human` is for reading, `json` for collecting, `auto` is `human` on a terminal
        /// and `json` elsewhere.
        "format" => format: LogFormat = choice(LogFormat::Auto);
        /// Which lines are written: a level, or levels by target. The environment variable `MORTISE_LOG` wins
        /// over this key.
        "filter" => filter: String = log_filter("info");
        /// The longest line a plugin may log. What exceeds it is cut, and the line says so.
        "max_guest_line_bytes" => max_guest_line_bytes: usize = bytes(4 * KIB, 64, MIB);
        /// The most lines one call may log. Further ones are dropped, and the log says how many.
        "max_guest_lines_per_call" => max_guest_lines_per_call: usize = count(100, 0, 100_000);
    }
}

section! {
    /// Compiled plugins, kept on disk so that a known component loads in milliseconds.
    Cache at "cache" {
        /// Whether compiled plugins are kept.
        "enabled" => enabled: bool = toggle(true);
        /// The folder they are kept in. It holds native code, so it is made private to its owner, one that
        /// others may write to is refused, and entries that this installation did not write are ignored.
        "dir" => dir: Option<PathBuf> = optional("`cache` in `server.data`", path_to("folder", "-"));
        /// The most that is kept. The oldest entries are deleted first.
        "max_bytes" => max_bytes: u64 = long_bytes(GIB, MIB, 16 * TIB);
    }
}

section! {
    /// The WebAssembly engine, shared by all plugins.
    Engine at "engine" {
        /// The most stack a plugin's WebAssembly code may use. A plugin that exceeds it has failed the call:
        /// UNKNOWN.
        "max_stack_bytes" => max_stack_bytes: usize = bytes(512 * KIB, 64 * KIB, 16 * MIB);
    }
}

section! {
    /// A plugin. NAME is the operator's choice: 1 to 63 characters of `a-z`, `0-9` and `-`, beginning with
    /// a letter. Its state, metrics and grants belong to that name, so renaming a plugin gives it an empty
    /// store.
    Plugin at "plugins.NAME" {
        /// The plugin's component, a `.wasm` file. When the file is replaced the host loads it and moves
        /// new calls to it. Two names may share a file. The flag `--plugin NAME=FILE` wins over this key.
        "file" => file: PathBuf = path_to("file", "");
        /// `call` gives every call a fresh sandbox, in which nothing survives. `reuse` lets a sandbox serve
        /// calls one after another, which is faster, and keeps what the plugin leaves in memory from one
        /// caller's call to the next.
        "isolation" => isolation: Isolation = choice(Isolation::Call);
        /// With `isolation = "reuse"`: how many calls a sandbox serves before it is retired.
        "max_reuse_calls" => max_reuse_calls: u32 = count_u32(1000, 1, 1_000_000_000);
        /// With `isolation = "reuse"`: how old a sandbox may become before it is retired.
        "max_reuse_age_ms" => max_reuse_age: Duration = millis(60_000, 1, 86_400_000);
        /// The most linear memory a sandbox may have. A plugin that needs more has failed the call:
        /// RESOURCE_EXHAUSTED.
        "max_memory_bytes" => max_memory_bytes: usize = bytes(64 * MIB, 64 * KIB, 4 * GIB);
        /// The most elements in a table of the plugin's, such as that of its indirect functions.
        "max_table_elements" => max_table_elements: usize = count(20_000, 1, 10_000_000);
        /// The most calls of this plugin in sandboxes at once. Further ones wait among
        /// `server.max_queued_calls`.
        "max_concurrent_calls" => max_concurrent_calls: Option<usize> =
            optional("`server.max_concurrent_calls` alone decides", count(1, 1, 10_000));
        /// The largest component that is loaded at all, so that compiling it stays affordable.
        "max_component_bytes" => max_component_bytes: u64 = long_bytes(64 * MIB, KIB, GIB);
        /// The smallest answer of this plugin that is compressed.
        "compress_min_bytes" => compress_min_bytes: Option<usize> =
            optional("`server.compress_min_bytes`", bytes(KIB, 0, GIB));
        /// What this plugin may use outside its sandbox: `upstream:NAME` lets it call the target
        /// `[upstreams.NAME]`. The plugin must ask for it as well; `mortise inspect` shows what it asks for.
        /// Its own store, events, log and rate limits, the clock and random numbers need no grant.
        "grants" => grants: Vec<String> = Grants;
        /// The most upstream calls that one call of this plugin may make. The next one fails, in the plugin.
        "max_upstream_calls" => max_upstream_calls: u32 = count_u32(100, 1, 100_000);
        /// The most bytes that upstreams may answer to one call of this plugin, all answers together. They are
        /// kept until the call ends, should it have to run again.
        "max_upstream_bytes" => max_upstream_bytes: u64 = long_bytes(16 * MIB, KIB, GIB);
        /// Values for the plugin itself. A plugin reads strings as they are, numbers and booleans as they
        /// stand in the file, arrays and tables as JSON. Keys the plugin does not declare are refused.
        ///
        /// A secret need not stand in this file: `{ file = "PATH" }` takes the text of another file, less a
        /// line feed at its end, and `{ env = "NAME" }` that of an environment variable of the host. Either is
        /// UTF-8, not empty, at most 64 KiB, and read once, at start.
        "config" => config: BTreeMap<String, ConfigValue> = FreeTable;
    }
}

section! {
    /// A service outside that plugins may call: those that ask for it and have `upstream:NAME` in their
    /// `grants`. NAME is the operator's choice, by the rule of plugin names; plugins know the target by it.
    /// All plugins share one connection to a target, its bounds and its circuit breaker.
    Upstream at "upstreams.NAME" {
        /// Where the target is: `http://HOST:PORT`, or `https://HOST:PORT` for TLS. It must speak gRPC over
        /// HTTP/2. Required.
        "url" => url: Uri = Url;
        /// With https: a file of CA certificates in PEM, one of which the target's certificate must come from.
        "ca_file" => ca_file: Option<PathBuf> = optional("the CAs that the system trusts", path_to("file", "-"));
        /// What may be called: methods, `package.Service/Method`, or all of a service, `package.Service/*`.
        /// Anything else fails in the plugin, PERMISSION_DENIED.
        "methods" => methods: Vec<AllowedMethod> = AllowedMethods;
        /// Keys of the client's metadata that go along, where the plugin does not set them itself. `traceparent`
        /// and `tracestate` always do.
        "forward_metadata" => forward_metadata: Vec<HeaderName> = MetadataKeys;
        /// The most calls to the target at once.
        "max_concurrent" => max_concurrent: usize = count(100, 1, 100_000);
        /// The most calls that wait for their turn. Further ones fail in the plugin, UNAVAILABLE.
        "max_queued" => max_queued: usize = count(100, 0, 100_000);
        /// How long connecting may take, TLS included.
        "connect_timeout_ms" => connect_timeout: Duration = millis(1000, 1, 600_000);
        /// How long a call to the target may take, retries included. What remains of the client's deadline
        /// bounds it anyway.
        "timeout_ms" => timeout: Option<Duration> =
            optional("the client's deadline alone decides", millis(1, 1, 86_400_000));
        /// How often a call is repeated when the target cannot be reached or answers UNAVAILABLE, with pauses
        /// that double from 50 ms, while there is time. Each repetition carries the same `idempotency-key`.
        "retries" => retries: u32 = count_u32(2, 0, 100);
        /// After so many calls in a row that did not reach the target, were answered UNAVAILABLE or took longer
        /// than `timeout_ms`, the target is left alone for `breaker_open_ms`: calls fail in the plugin at once,
        /// UNAVAILABLE. Then one call tries. 0 never leaves it alone.
        "breaker_failures" => breaker_failures: u32 = count_u32(10, 0, 1_000_000);
        /// How long a target that keeps failing is left alone.
        "breaker_open_ms" => breaker_open: Duration = millis(5000, 1, 3_600_000);
        /// The largest message that a plugin may send to the target.
        "max_request_bytes" => max_request_bytes: usize = bytes(4 * MIB, 1, GIB);
        /// The largest message that the target may answer with.
        "max_response_bytes" => max_response_bytes: usize = bytes(4 * MIB, 1, GIB);
    }
}

section! {
    /// Deadlines for one service or method instead of those of `[server]`. NAME is `package.Service` or
    /// `package.Service/Method`, in quotes: `[deadlines."order.v1.OrderService"]`. For each key a method's value
    /// goes before its service's, and that before `[server]`'s. A name that no plugin serves gets a warning.
    MethodDeadlines at "deadlines.NAME" {
        /// The deadline of a call that brings none.
        "default_deadline_ms" => default: Option<Duration> =
            optional("that of the service, or of `[server]`", millis(1, 1, 86_400_000));
        /// The longest a call may take, also where `[server]` allows less. A longer `grpc-timeout` is cut to it.
        "max_deadline_ms" => maximum: Option<Duration> =
            optional("that of the service, or of `[server]`", millis(1, 1, 86_400_000));
    }
}

impl Upstream {
    /// Reads `[upstreams.NAME]`; none if it is no table, which is reported.
    pub(super) fn read<'s>(reader: &mut Reader<'s>, upstreams: &DeTable<'s>, name: &str) -> Option<Self> {
        let table = reader.table(upstreams, "upstreams", name)?;
        Some(Upstream::read_table(
            reader,
            Some(table),
            &join("upstreams", name),
        ))
    }
}

impl MethodDeadlines {
    /// Reads `[deadlines.NAME]`; none if it is no table, which is reported.
    pub(super) fn read<'s>(reader: &mut Reader<'s>, deadlines: &DeTable<'s>, name: &str) -> Option<Self> {
        let table = reader.table(deadlines, "deadlines", name)?;
        Some(MethodDeadlines::read_table(
            reader,
            Some(table),
            &join("deadlines", name),
        ))
    }
}

impl Plugin {
    /// A plugin with every other key at its default.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Plugin {
            file: file.into(),
            ..Plugin::defaults()
        }
    }

    /// Reads `[plugins.NAME]`; none if it is no table, which is reported.
    pub(super) fn read<'s>(reader: &mut Reader<'s>, plugins: &DeTable<'s>, name: &str) -> Option<Self> {
        let table = reader.table(plugins, "plugins", name)?;
        Some(Plugin::read_table(reader, Some(table), &join("plugins", name)))
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `Human` when standard error is a terminal, else `Json`.
    Auto,
    /// For reading.
    Human,
    /// One JSON object on each line.
    Json,
}

impl Choices for LogFormat {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("auto", LogFormat::Auto),
        ("human", LogFormat::Human),
        ("json", LogFormat::Json),
    ];
}

impl Choices for Encoding {
    const CHOICES: &'static [(&'static str, Self)] = &[
        (Encoding::Zstd.name(), Encoding::Zstd),
        (Encoding::Gzip.name(), Encoding::Gzip),
        (Encoding::Deflate.name(), Encoding::Deflate),
    ];
}

/// What calls of one plugin share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Nothing: each call has a sandbox of its own.
    Call,
    /// A sandbox serves calls one after another, until a bound or any failure retires it.
    Reuse,
}

impl Choices for Isolation {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("call", Isolation::Call), ("reuse", Isolation::Reuse)];
}
