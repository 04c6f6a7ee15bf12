//! Why a connection is closed that its client would have kept.

use std::fmt;

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Misconduct {
    /// It has `max_connections_per_peer` already.
    TooManyConnections,
    /// A trusted proxy did not begin with a well-formed PROXY header.
    NoProxyHeader,
    /// It and the host did not agree on TLS.
    NoHandshake,
    /// It did not send in time what it had begun.
    TooSlow,
    /// It sent too many frames within a second, this type at last.
    Flood(&'static str),
    /// It exceeded a bound of the HTTP/2 library's own.
    Refused,
}

impl Misconduct {
    /// Whether the HTTP/2 library ended a connection because it would not bear more.
    pub(super) fn is_flood(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source())
            .filter_map(|error| error.downcast_ref::<h2::Error>())
            .any(|error| !error.is_remote() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
    }

    /// Whether an operator should hear of it. The others happen with honest clients on bad networks, and to
    /// every port of the Internet all day long.
    pub(super) fn is_notable(self) -> bool {
        !matches!(self, Self::NoHandshake | Self::TooSlow)
    }
}

impl fmt::Display for Misconduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyConnections => {
                f.write_str("the client has as many as server.max_connections_per_peer allows")
            }
            Self::NoProxyHeader => f.write_str("a trusted proxy did not begin with a PROXY header"),
            Self::NoHandshake => f.write_str("no TLS handshake"),
            Self::TooSlow => f.write_str("the client did not send in time what it had begun"),
            Self::Flood(kind) => write!(f, "the client floods it with frames, of type {kind} at last"),
            Self::Refused => f.write_str("the client exceeded a bound of HTTP/2"),
        }
    }
}
