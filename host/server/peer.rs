//! Who is at the other end, and what each client has of the host.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

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

/// The clients that there are, each with what it has of the host. Who has nothing is forgotten.
#[derive(Debug)]
pub(super) struct Clients {
    max_connections: usize,
    known: Mutex<HashMap<IpAddr, Weak<Client>>>,
}

/// What one client has of what all share.
#[derive(Debug)]
pub(crate) struct Client {
    clients: Arc<Clients>,
    address: IpAddr,
    connections: AtomicUsize,
    /// Bytes of its requests that are held.
    pub(super) requests: AtomicUsize,
    /// Bytes of answers that it has not taken.
    pub(super) answers: AtomicUsize,
}

impl Clients {
    /// Each may have so many connections.
    pub(super) fn new(max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            max_connections,
            known: Mutex::default(),
        })
    }

    /// The client at `ip`.
    pub(super) fn at(self: &Arc<Self>, ip: IpAddr) -> Arc<Client> {
        let address = client_of(ip);
        let mut known = self.known.lock();
        if let Some(client) = known.get(&address).and_then(Weak::upgrade) {
            return client;
        }
        let client = Arc::new(Client {
            clients: self.clone(),
            address,
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
        });
        known.insert(address, Arc::downgrade(&client));
        client
    }

    /// Counts a connection from `ip` until the place is dropped; none if its client has as many as it may.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let client = self.at(ip);
        let most = self.max_connections;
        let one_more = |connections| (connections < most).then_some(connections + 1);
        let counted = client
            .connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        counted.is_ok().then(|| Place(client))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut known = self.clients.known.lock();
        // Another one may have taken its place since the last reference to it went.
        if known
            .get(&self.address)
            .is_some_and(|client| client.strong_count() == 0)
        {
            known.remove(&self.address);
        }
    }
}

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Place(Arc<Client>);

impl Place {
    pub(super) fn client(&self) -> &Arc<Client> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
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
        let clients = Clients::new(2);
        let first = clients.admit(ip("192.0.2.1")).expect("free");
        let _second = clients.admit(ip("::ffff:192.0.2.1")).expect("free");
        assert!(clients.admit(ip("192.0.2.1")).is_none());
        let _other = clients.admit(ip("192.0.2.2")).expect("another client");
        drop(first);
        let _third = clients.admit(ip("192.0.2.1")).expect("free again");
        assert!(clients.admit(ip("192.0.2.1")).is_none());
    }

    #[test]
    fn a_client_has_a_whole_network_of_ipv6() {
        let clients = Clients::new(1);
        let place = clients.admit(ip("2001:db8::1")).expect("free");
        assert!(clients.admit(ip("2001:db8::ffff:ffff:ffff:ffff")).is_none());
        let _other = clients.admit(ip("2001:db8:0:1::1")).expect("another network");
        drop(place);
        assert_eq!(clients.known.lock().len(), 1, "who has nothing is forgotten");
    }
}
