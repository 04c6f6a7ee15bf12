//! `[engine]` and `[cache]`: how components are compiled and run.

use std::path::PathBuf;

use crate::config::setting::{
    Choices, GIB, KIB, MIB, TIB, bytes, choice, long_bytes, optional, path_to, toggle,
};

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

top_level!(Cache);

section! {
    /// The WebAssembly engine, shared by all plugins.
    Engine at "engine" {
        /// The most stack a plugin's WebAssembly code may use. A plugin that exceeds it has failed the call:
        /// UNKNOWN.
        "max_stack_bytes" => max_stack_bytes: usize = bytes(512 * KIB, 64 * KIB, 16 * MIB);
        /// What plugins are compiled for. `speed` makes code that runs fast. `none` takes half as long to compile,
        /// for code that does the same, but runs slower and may take more of its stack.
        "opt_level" => opt_level: Option<OptLevel> =
            optional("`speed`; in `mortise dev`, `none`", choice(OptLevel::Speed));
    }
}

top_level!(Engine);

/// How much work is put into compiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptLevel {
    /// As much as makes the code fast.
    Speed,
    /// As little as can be.
    None,
}

impl Choices for OptLevel {
    const CHOICES: &'static [(&'static str, Self)] = &[("speed", OptLevel::Speed), ("none", OptLevel::None)];
}
