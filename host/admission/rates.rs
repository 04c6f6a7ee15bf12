//! How often callers may call, by the operator's token buckets.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::capability::Namespace;
use crate::capability::limits::{Limits, MAX_BUCKET_BYTES, Rate};
use crate::server::client_of;
use crate::status::Failure;

/// Buckets of one set: the host's, or those of a method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of all callers together.
    pub all: Option<Rate>,
    /// Of each IP address; an IPv6 network of 64 bits counts as one, because a client has all of it.
    pub peer: Option<Rate>,
    /// Of each verified caller. Calls without one are bounded by their address alone.
    pub principal: Option<Rate>,
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'c> {
    /// `IP:PORT`, or another text for what has no address.
    pub peer: &'c str,
    /// Verified.
    pub principal: Option<&'c str>,
}

/// The buckets of all callers.
pub struct CallerRates {
    buckets: Limits,
    namespace: Namespace,
    host: Rates,
}

impl CallerRates {
    /// `host` holds for all methods together, with room for about `max_buckets` callers and methods. Those that
    /// came least recently make way.
    pub fn new(host: Rates, max_buckets: usize) -> Self {
        Self {
            buckets: Limits::new(max_buckets),
            namespace: Namespace::new("callers").expect("it is a valid name"),
            host,
        }
    }

    /// Takes a token from each bucket that the call falls into: those of its method, then the host's. What is
    /// taken stays taken when a later one is empty.
    ///
    /// # Errors
    /// If one of them is empty.
    pub fn take(&self, path: &str, method: &Rates, caller: Caller<'_>, now: Instant) -> Result<(), Failure> {
        for (scope, rates) in [(path, method), ("", &self.host)] {
            if *rates == Rates::default() {
                continue;
            }
            self.take_one(rates.all, now, || format!("all {scope}"))?;
            self.take_one(rates.peer, now, || {
                format!("peer {} {scope}", network(caller.peer))
            })?;
            if let Some(principal) = caller.principal {
                self.take_one(rates.principal, now, || format!("principal {principal} {scope}"))?;
            }
        }
        Ok(())
    }

    fn take_one(&self, rate: Option<Rate>, now: Instant, name: impl Fn() -> String) -> Result<(), Failure> {
        let Some(rate) = rate else { return Ok(()) };
        let taken = self.buckets.take(&self.namespace, &bounded(name()), 1, rate, now);
        match taken {
            Ok(decision) if decision.allowed => Ok(()),
            Ok(decision) => Err(Failure::RateLimited {
                retry_after: decision.retry_after,
            }),
            Err(error) => Err(Failure::Internal {
                cause: error.to_string(),
            }),
        }
    }
}

/// The part of `peer` that one client cannot change at will.
fn network(peer: &str) -> String {
    match peer.parse::<SocketAddr>() {
        Ok(address) => client_of(address.ip()).to_string(),
        Err(_) => peer.to_owned(),
    }
}

/// A name of any length as one that a bucket may have.
fn bounded(name: String) -> String {
    if name.len() <= MAX_BUCKET_BYTES {
        return name;
    }
    let mut hash = String::from("sha256 ");
    for byte in Sha256::digest(&name) {
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PATH: &str = "/shop.v1.Orders/Place";

    fn one_a_minute() -> Option<Rate> {
        Some(Rate::new(1, 1, Duration::from_secs(60)).expect("a rate"))
    }

    fn allowed(rates: &CallerRates, method: &Rates, peer: &str, principal: Option<&str>) -> bool {
        rates
            .take(PATH, method, Caller { peer, principal }, Instant::now())
            .is_ok()
    }

    #[test]
    fn addresses_have_buckets_of_their_own() {
        let method = Rates {
            peer: one_a_minute(),
            ..Rates::default()
        };
        let rates = CallerRates::new(Rates::default(), 1000);
        for (peer, expected) in [
            ("192.0.2.1:1000", true),
            ("192.0.2.1:2000", false),
            ("[::ffff:192.0.2.1]:3000", false),
            ("192.0.2.2:1000", true),
            ("[2001:db8::1]:1000", true),
            ("[2001:db8::ffff:1]:1000", false),
            ("[2001:db8:0:1::1]:1000", true),
            ("unix", true),
            ("unix", false),
        ] {
            assert_eq!(allowed(&rates, &method, peer, None), expected, "{peer}");
        }
    }

    #[test]
    fn principals_and_all_together_are_bounded() {
        let method = Rates {
            principal: one_a_minute(),
            ..Rates::default()
        };
        let host = Rates {
            all: Some(Rate::new(3, 1, Duration::from_secs(60)).expect("a rate")),
            ..Rates::default()
        };
        let rates = CallerRates::new(host, 1000);
        let long = "x".repeat(1000);
        assert!(allowed(&rates, &method, "192.0.2.1:1", Some("ann")));
        assert!(!allowed(&rates, &method, "192.0.2.2:1", Some("ann")));
        assert!(allowed(&rates, &method, "192.0.2.2:1", Some(&long)));
        assert!(!allowed(&rates, &method, "192.0.2.2:1", Some(&long)));
        assert!(allowed(&rates, &method, "192.0.2.2:1", None));
        let refused = rates.take(
            PATH,
            &method,
            Caller {
                peer: "192.0.2.2:1",
                principal: None,
            },
            Instant::now(),
        );
        let Err(Failure::RateLimited { retry_after }) = refused else {
            panic!("{refused:?}");
        };
        assert!(retry_after > Duration::from_secs(50));
    }
}
