use super::misconduct::Misconduct;
use crate::observe::metrics::Counter;

/// What is counted of client connections.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    /// Those that were accepted.
    pub accepted: Counter,
    /// Of them, those that have ended.
    pub closed: Counter,
    /// Those that the system could not hand over, for instance for want of descriptors.
    pub not_accepted: Counter,
    /// Handshakes that broke the protocol, or where the certificates were no good to one side.
    pub tls_failed: Counter,
    /// Handshakes that took too long.
    pub tls_timed_out: Counter,
    misconduct: [Counter; REASONS.len()],
}

/// In the order of the counters.
const REASONS: [&str; 6] = [
    "too_many",
    "no_proxy_header",
    "too_slow",
    "takes_nothing",
    "flood",
    "http2",
];

impl ConnectionMetrics {
    /// Connections that were closed for what their clients did, by why. Failed handshakes are counted apart.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.misconduct.iter().map(Counter::value);
        REASONS.into_iter().zip(counts)
    }

    pub(super) fn count(&self, misconduct: Misconduct) {
        let index = match misconduct {
            Misconduct::NoHandshake => return,
            Misconduct::TooManyConnections => 0,
            Misconduct::NoProxyHeader => 1,
            Misconduct::TooSlow => 2,
            Misconduct::TakesNothing => 3,
            Misconduct::Flood(_) => 4,
            Misconduct::Refused => 5,
        };
        self.misconduct[index].increment();
    }
}
