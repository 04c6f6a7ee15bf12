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
        /// What compiles plugins. `cranelift` makes code that runs fast. `winch` is done several times sooner, with
        /// code that does the same, but runs slower and takes more of its stack. It knows x86-64 and AArch64, and not
        /// the tail calls, relaxed SIMD and exceptions of WebAssembly, which Rust's target does not use.
        "compiler" => compiler: Option<Compiler> =
            optional("`cranelift`; in `mortise dev`, `winch` where it can be", choice(Compiler::Cranelift));
    }
}

top_level!(Engine);

/// wasmtime has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiler {
    /// Optimises.
    Cranelift,
    /// Translates in one pass.
    Winch,
}

impl Choices for Compiler {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("cranelift", Compiler::Cranelift), ("winch", Compiler::Winch)];
}
