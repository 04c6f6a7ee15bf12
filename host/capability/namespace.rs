use std::fmt;
use std::sync::Arc;

/// The name under which the operator runs a plugin. State, events and rate limits are kept per namespace;
/// what a plugin says of itself has no part in it.
///
/// 1 to 64 ASCII letters, digits, `-`, `_` and `.`, beginning with a letter or digit. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

/// A name that cannot be a namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "plugin name {0:?} is not valid: use 1 to {max} ASCII letters, digits, '-', '_' or '.', beginning with \
     a letter or digit",
    max = Namespace::MAX_BYTES
)]
pub struct InvalidNamespace(String);

impl Namespace {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Checks `name`.
    ///
    /// # Errors
    /// If the name is empty, too long, or has a character that is not allowed.
    pub fn new(name: &str) -> Result<Self, InvalidNamespace> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let valid = name.len() <= Self::MAX_BYTES
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(allowed);
        if valid {
            Ok(Self(name.into()))
        } else {
            Err(InvalidNamespace(name.chars().take(Self::MAX_BYTES + 1).collect()))
        }
    }

    /// A name of the host's own, which no plugin can have: it begins with `/`.
    pub(crate) fn of_host(name: &'static str) -> Self {
        debug_assert!(name.starts_with('/'), "{name} could be a plugin's");
        Self(name.into())
    }

    /// The name as the operator wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["order", "order-v2", "A.b_c", "7", &"x".repeat(64)] {
            assert_eq!(Namespace::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-order", ".", "a b", "a/b", "a\0b", "ä", &"x".repeat(65)] {
            let error = Namespace::new(bad).unwrap_err();
            assert!(error.to_string().contains("is not valid"), "{error}");
        }
    }
}
