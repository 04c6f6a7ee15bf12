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
}
