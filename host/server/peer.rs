//! Who is at the other end, and how many connections each may have.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// IPv4 clients of a dual-stack socket have their IPv4 address.
    Network(SocketAddr),
    /// A process of this machine. Who it may be is for the socket's permissions to say.
    Unix,
}

impl Peer {
    pub(super) fn network(address: SocketAddr) -> Self {
        Self::Network(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    pub(super) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Network(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }
}

/// As guests read it.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Unix => f.write_str("unix:"),
        }
    }
}

/// What counts as one client: an IPv4 address, or the /64 network of an IPv6 address, all of whose addresses one
/// customer usually has.
pub fn client_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        ip => ip,
    }
}

/// The open connections of each client. Only those that have any are held.
#[derive(Debug)]
pub(super) struct Peers {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Peers {
    /// Each client may have `most`.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: Mutex::default(),
        })
    }

    /// Counts a connection from `ip` until the place is dropped; none if its client has as many as it may.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let client = client_of(ip);
        let mut open = self.open.lock();
        let connections = open.entry(client).or_default();
        if *connections >= self.most {
            return None;
        }
        *connections += 1;
        Some(Place {
            peers: self.clone(),
            client,
        })
    }
}

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Place {
    peers: Arc<Peers>,
    client: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.peers.open.lock();
        if let Some(connections) = open.get_mut(&self.client) {
            *connections -= 1;
            if *connections == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_client_has_its_own_places() {
        let peers = Peers::new(2);
        let first = peers.admit(ip("192.0.2.1")).expect("free");
        let _second = peers.admit(ip("::ffff:192.0.2.1")).expect("free");
        assert!(peers.admit(ip("192.0.2.1")).is_none());
        let _other = peers.admit(ip("192.0.2.2")).expect("another client");
        drop(first);
        let _third = peers.admit(ip("192.0.2.1")).expect("free again");
        assert!(peers.admit(ip("192.0.2.1")).is_none());
    }

    #[test]
    fn a_client_has_a_whole_network_of_ipv6() {
        let peers = Peers::new(1);
        let place = peers.admit(ip("2001:db8::1")).expect("free");
        assert!(peers.admit(ip("2001:db8::ffff:ffff:ffff:ffff")).is_none());
        let _other = peers.admit(ip("2001:db8:0:1::1")).expect("another network");
        drop(place);
        assert_eq!(peers.open.lock().len(), 1, "who has none is forgotten");
    }
}
