//! Names that are good for all that a plugin's name is used for.

use std::fmt;
use std::str::FromStr;

use crate::config::PluginName;

/// A name for a new plugin: of its crate, its proto package and its `[plugins.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewName(PluginName);

/// Words of Rust, which no crate can be called.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// Crates that a plugin links, and names that cargo keeps for itself.
const TAKEN: [&str; 11] = [
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "incremental",
    "mortise-guest",
    "proc-macro",
    "prost",
    "std",
    "test",
];

impl NewName {
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name as Rust and protobuf write it: `order_desk`.
    pub(super) fn identifier(&self) -> String {
        self.as_str().replace('-', "_")
    }

    /// The name of the service: `OrderDesk`.
    pub(super) fn service(&self) -> String {
        let capitalise = |word: &str| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
                .collect::<String>()
        };
        self.as_str().split('-').map(capitalise).collect()
    }
}

impl FromStr for NewName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name: PluginName = text.parse().map_err(|error| format!("{error}"))?;
        if KEYWORDS.contains(&text) {
            return Err("it is a keyword of Rust".into());
        }
        if TAKEN.contains(&text) {
            return Err("a crate of this name exists already".into());
        }
        if text.ends_with('-')
            || text
                .split('-')
                .skip(1)
                .any(|word| !word.starts_with(|c: char| c.is_ascii_lowercase()))
        {
            return Err("each - stands before a letter, as the words become a name in Rust".into());
        }
        Ok(NewName(name))
    }
}

impl fmt::Display for NewName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
