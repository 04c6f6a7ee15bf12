//! What is wrong with a configuration, where, and how to mend it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::observe::printable;

/// A place in a configuration file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file, as it was named to [`Config::load`](super::Config::load).
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One mistake in the configuration.
///
/// Displayed on one line as `file:line:column: key: problem`, a form that editors and terminals can jump
/// to, followed by an indented `hint:` line where there is one. Neither ever quotes a line of the file or
/// a plugin's value, because those may be secret. Names and paths may hold any character, so each is made
/// printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the mistake is, if it is in a file.
    pub location: Option<Location>,
    /// The full key (`server.listen`), the flag (`--plugin`), or empty where the mistake has no name.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{}: ", on_one_line(&location.to_string()))?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", on_one_line(&self.key))?;
        }
        f.write_str(&on_one_line(&self.problem))?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", on_one_line(hint))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

fn on_one_line(text: &str) -> String {
    printable(text, usize::MAX)
}

/// Every mistake that was found, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// All of `errors` in file order, or `Ok` when there are none.
    pub fn check(mut errors: Vec<ConfigError>) -> Result<(), ConfigErrors> {
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort_by(|a, b| a.location.cmp(&b.location));
        Err(ConfigErrors { errors })
    }

    /// The mistakes, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.errors.iter()
    }

    /// How many mistakes there are, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.errors.len()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        ConfigErrors { errors: vec![error] }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.errors.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
