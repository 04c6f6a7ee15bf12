//! The name of a method as users write it.

use std::fmt;
use std::str::FromStr;

use http::uri::PathAndQuery;

/// `package.Service/Method`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MethodName {
    service: String,
    method: String,
    path: PathAndQuery,
}

impl MethodName {
    /// `package.Service`
    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// `Method`
    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// `/package.Service/Method`
    pub(super) fn path(&self) -> PathAndQuery {
        self.path.clone()
    }
}

impl FromStr for MethodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected package.Service/Method";
        let (service, method) = text
            .strip_prefix('/')
            .unwrap_or(text)
            .split_once('/')
            .ok_or(expected)?;
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        };
        if !is_name(service) || !is_name(method) {
            return Err(expected.into());
        }
        let path = format!("/{service}/{method}").parse().map_err(|_| expected)?;
        Ok(MethodName {
            service: service.to_owned(),
            method: method.to_owned(),
            path,
        })
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.method)
    }
}
