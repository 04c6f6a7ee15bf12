//! Which call it was.

use std::fmt;

/// Random, unique; shown as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallId(u128);

impl CallId {
    /// Of one more call.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
