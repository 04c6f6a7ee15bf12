//! The name of a service or method.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// `package.Service`, or `package.Service/Method`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodName(String);

/// The text is no [`MethodName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "write the name of a service, \"package.Service\", or of a method, \"package.Service/Method\", in quotes"
)]
pub struct InvalidMethodName;

impl MethodName {
    /// The pattern of a valid name, as a regular expression.
    pub const PATTERN: &'static str = "^[A-Za-z_][A-Za-z0-9_.]*(/[A-Za-z_][A-Za-z0-9_]*)?$";

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `package.Service`
    pub fn service(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(service, _)| service)
    }

    /// `Method`, unless it is the name of a service.
    pub fn method(&self) -> Option<&str> {
        self.0.split_once('/').map(|(_, method)| method)
    }
}

/// So that a map of them can be asked by text; their order is that of the text.
impl Borrow<str> for MethodName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for MethodName {
    type Err = InvalidMethodName;

    fn from_str(text: &str) -> Result<Self, InvalidMethodName> {
        let name = |text: &str, dots: bool| {
            text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || (dots && c == '.'))
        };
        let valid = match text.split_once('/') {
            None => name(text, true),
            Some((service, method)) => name(service, true) && name(method, false),
        };
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidMethodName)
        }
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
