//! `[plugins.NAME]`: what is served, and its bounds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::capability::store::Durability;
use crate::config::setting::{
    Choices, FreeTable, GIB, Grants, KIB, MIB, TIB, bytes, choice, count, count_u32, long_bytes, long_count,
    millis, optional, path_to,
};
use crate::config::value::ConfigValue;

section! {
    /// A plugin. NAME is the operator's choice: 1 to 63 characters of `a-z`, `0-9` and `-`, beginning with
    /// a letter. Its state, metrics and grants belong to that name, so renaming a plugin gives it an empty
    /// store.
    Plugin at "plugins.NAME" {
        /// The plugin's component, a `.wasm` file. When the file is replaced the host loads it and moves
        /// new calls to it. Two names may share a file. The flag `--plugin NAME=FILE` wins over this key.
        "file" => file: PathBuf = path_to("file", "");
        /// `call` gives every call a sandbox in which nothing of any other call is: a new one, or one whose
        /// memory and globals were put back to what they were before its first call. `reuse` lets a sandbox serve
        /// calls one after another as they leave it, which is faster, and keeps what the plugin leaves in memory
        /// from one caller's call to the next.
        "isolation" => isolation: Isolation = choice(Isolation::Call);
        /// `auto` links the plugin's program to the host directly if its component is put together as the
        /// usual tools do it, which makes a fresh sandbox cost a fraction. `component` runs it as the component
        /// that it is. It behaves the same either way; `mortise inspect` says which it is, and why.
        "linking" => linking: Linking = choice(Linking::Auto);
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
        /// The most bytes of keys and values that the plugin keeps in the store. A write that would exceed
        /// this is refused, in the plugin. So is one that would exceed the next.
        "max_store_bytes" => max_store_bytes: u64 = long_bytes(16 * GIB, KIB, 16 * TIB);
        /// The most keys that the plugin keeps in the store.
        "max_store_keys" => max_store_keys: u64 = long_count(100_000_000, 1, 1_000_000_000_000);
        /// When a call that changed something is answered. `commit`: once the change is on the disk.
        /// `relaxed`: once it is written, which is faster; a crash of the machine can lose changes that were
        /// answered in the last `store.relaxed_window_ms`, one of the host alone loses nothing. Either way a
        /// change is there as a whole or not at all, and events are delivered only when it is on the disk.
        "durability" => durability: Durability = choice(Durability::Commit);
        /// The longest value that the plugin stores, and the longest payload of its events.
        "max_value_bytes" => max_value_bytes: Option<usize> =
            optional("`store.max_value_bytes`", bytes(MIB, KIB, GIB));
        /// The most keys read and written, scans and events in one call of this plugin.
        "max_transaction_operations" => max_transaction_operations: Option<usize> =
            optional("`store.max_transaction_operations`", count(10_000, 1, 10_000_000));
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

named!(Plugin);

impl Plugin {
    /// A plugin with every other key at its default.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Plugin {
            file: file.into(),
            ..Plugin::defaults()
        }
    }
}

/// What calls of one plugin share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Nothing: each call has a sandbox of its own.
    Call,
    /// A sandbox serves calls one after another, until a bound or any failure retires it.
    Reuse,
}

impl Choices for Durability {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("commit", Durability::Commit), ("relaxed", Durability::Relaxed)];
}

impl Choices for Isolation {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("call", Isolation::Call), ("reuse", Isolation::Reuse)];
}

/// How a plugin's program is linked to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linking {
    /// Directly where that can be done, else as a component.
    Auto,
    /// As a component.
    Component,
}

impl Choices for Linking {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("auto", Linking::Auto), ("component", Linking::Component)];
}

/// As in the file.
impl FromStr for Linking {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::CHOICES.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, linking)| *linking)
            .ok_or_else(|| "expected auto or component".to_owned())
    }
}
