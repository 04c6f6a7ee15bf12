//! The name an operator gives a plugin.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// The operator's name for a plugin: 1 to 63 of `a-z`, `0-9` and `-`, beginning with a letter.
///
/// Store namespace, metrics and grants go by this name, never by what the plugin calls itself, so it must
/// be safe in each of those places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginName(String);

/// The rule of names that operators give.
pub(super) const NAME_RULE: &str = "a name is 1 to 63 characters of a-z, 0-9 and -, beginning with a letter";

/// The text is no [`PluginName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{NAME_RULE}")]
pub struct InvalidPluginName;

impl PluginName {
    /// The pattern of a valid name, as a regular expression.
    pub const PATTERN: &'static str = "^[a-z][a-z0-9-]{0,62}$";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PluginName {
    type Err = InvalidPluginName;

    fn from_str(text: &str) -> Result<Self, InvalidPluginName> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid =
            text.len() <= 63 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(plain);
        if valid {
            Ok(PluginName(text.to_owned()))
        } else {
            Err(InvalidPluginName)
        }
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for PluginName {
    fn borrow(&self) -> &str {
        &self.0
    }
}
