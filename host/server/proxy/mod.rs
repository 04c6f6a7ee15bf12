//! Proxies that the operator trusts to say whom they speak for.

mod forwarded;
mod protocol;

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::peer::Peer;

pub(super) use forwarded::client as forwarded_client;
pub(super) use protocol::read_header as read_proxy_header;

/// How a trusted proxy names the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyNaming {
    /// In each request, as the last address of `x-forwarded-for` that is no trusted proxy's.
    XForwardedFor,
    /// At the start of each connection, by the PROXY protocol, version 1 or 2.
    ProxyProtocol,
}

/// Who is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Every address of a network.
    Network(IpNet),
    /// Whoever may connect to the Unix-domain socket.
    Unix,
}

/// Neither a network nor an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no address, network (ADDRESS/BITS) or \"unix\"")]
pub struct InvalidTrustedProxy;

impl FromStr for TrustedProxy {
    type Err = InvalidTrustedProxy;

    fn from_str(text: &str) -> Result<Self, InvalidTrustedProxy> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Network(ip.to_canonical().into()));
        }
        text.parse().map(Self::Network).map_err(|_| InvalidTrustedProxy)
    }
}

/// Which proxies are believed, and how they say it.
#[derive(Debug, Clone)]
pub struct Proxies {
    trusted: Vec<TrustedProxy>,
    naming: ProxyNaming,
}

impl Proxies {
    /// Believes `trusted`, who name clients by `naming`.
    pub fn new(trusted: Vec<TrustedProxy>, naming: ProxyNaming) -> Self {
        Self { trusted, naming }
    }

    /// How `peer` names its clients; none if it is not believed.
    pub(super) fn naming(&self, peer: Peer) -> Option<ProxyNaming> {
        let trusted = match peer.ip() {
            Some(ip) => self.trusts(ip),
            None => self.trusted.contains(&TrustedProxy::Unix),
        };
        trusted.then_some(self.naming)
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted.iter().any(|trusted| match trusted {
            TrustedProxy::Network(network) => network.contains(&ip),
            TrustedProxy::Unix => false,
        })
    }
}
