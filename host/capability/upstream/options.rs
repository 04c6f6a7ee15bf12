use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Uri};

/// What the operator decided about a target: `[upstreams.NAME]`.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub url: Uri,
    /// The CA that a TLS target's certificate must come from, in PEM. Without one it is those of the system.
    pub ca_file: Option<PathBuf>,
    /// What may be called; empty allows every method.
    pub methods: Vec<AllowedMethod>,
    /// Request metadata of the client that goes along.
    pub forward_metadata: Vec<HeaderName>,
    /// Calls in progress.
    pub max_concurrent: usize,
    /// Calls that wait for their turn.
    pub max_queued: usize,
    /// For a connection, TLS included.
    pub connect_timeout: Duration,
    /// For an answer, retries included.
    pub timeout: Option<Duration>,
    /// How often a call is repeated that the target could not take.
    pub retries: u32,
    /// Failures in a row after which the target is left alone; 0 never.
    pub breaker_failures: u32,
    /// How long it is left alone.
    pub breaker_open: Duration,
    /// In bytes.
    pub max_request_bytes: usize,
    /// In bytes.
    pub max_response_bytes: usize,
}

/// A method, or all methods of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedMethod {
    service: String,
    method: Option<String>,
}

impl AllowedMethod {
    /// From `package.Service/Method`, or `package.Service/*`.
    pub fn parse(text: &str) -> Option<Self> {
        let (service, method) = text.split_once('/')?;
        let name = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
        };
        (name(service) && (method == "*" || (name(method) && !method.contains('.')))).then(|| Self {
            service: service.to_owned(),
            method: (method != "*").then(|| method.to_owned()),
        })
    }

    /// Whether it is, or includes, the method at `path`: `/package.Service/Method`.
    pub fn matches(&self, path: &str) -> bool {
        let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        parts.is_some_and(|(service, method)| {
            service == self.service && self.method.as_deref().is_none_or(|allowed| allowed == method)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_whole_services_can_be_allowed() {
        let one = AllowedMethod::parse("shop.v1.Stock/Reserve").expect("valid");
        assert!(one.matches("/shop.v1.Stock/Reserve"));
        for other in [
            "/shop.v1.Stock/Release",
            "/shop.v1.Stock2/Reserve",
            "shop.v1.Stock/Reserve",
            "/",
        ] {
            assert!(!one.matches(other), "{other}");
        }
        let all = AllowedMethod::parse("shop.v1.Stock/*").expect("valid");
        assert!(all.matches("/shop.v1.Stock/Release"));
        assert!(!all.matches("/shop.v1.Orders/Release"));
        for wrong in [
            "",
            "Stock",
            "/shop.v1.Stock/Reserve",
            "shop.v1.*/Reserve",
            "a/b/c",
            "a/",
            "/b",
            "*",
        ] {
            assert_eq!(AllowedMethod::parse(wrong), None, "{wrong}");
        }
    }
}
