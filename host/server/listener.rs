//! The listening socket and its connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::ConnectionMetrics;

const BACKLOG: i32 = 1024;

/// How long accepting pauses after the system refused a connection, for instance for want of descriptors.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// A bound socket that accepts at most so many connections at once; further ones wait in the backlog.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    connections: Arc<Semaphore>,
    metrics: Arc<ConnectionMetrics>,
}

/// Why the address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has it.
    #[error("{0} is in use: stop the process that listens there, or choose another address with --listen")]
    InUse(SocketAddr),
    /// Any other reason.
    #[error("cannot listen on {address}: {error}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
}

impl Listener {
    /// Binds `address`. `[::]` also takes IPv4, and means `0.0.0.0` where the system has no IPv6.
    /// With `reuse_port`, other processes of the same user that ask for it may listen there too.
    pub fn bind(address: SocketAddr, max_connections: usize, reuse_port: bool) -> Result<Self, ListenError> {
        let bound = match bind(address, reuse_port) {
            Err(error) if is_without_ipv6(&error) && address.ip().is_unspecified() && address.is_ipv6() => {
                bind((Ipv4Addr::UNSPECIFIED, address.port()).into(), reuse_port)
            }
            bound => bound,
        };
        let socket = bound.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(address),
            _ => ListenError::Other { address, error },
        })?;
        Ok(Self {
            socket,
            connections: Arc::new(Semaphore::new(max_connections)),
            metrics: Arc::default(),
        })
    }

    /// What is counted of its connections.
    pub fn metrics(&self) -> &Arc<ConnectionMetrics> {
        &self.metrics
    }

    /// The address it is bound to, with the port the system chose if 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection. Never fails: one refused connection is not the end of all. May be dropped at any
    /// time.
    pub(super) async fn accept(&self) -> Accepted {
        loop {
            // The semaphore is never closed.
            let Ok(permit) = self.connections.clone().acquire_owned().await else {
                continue;
            };
            match self.socket.accept().await {
                Ok((stream, peer)) => return self.accepted(stream, peer, permit),
                Err(error) => {
                    self.metrics.not_accepted.increment();
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The next connection of the backlog, if one waits and may be had. It asks the kernel itself, because the
    /// runtime may not have heard yet.
    pub(super) fn take_waiting(&self) -> Option<Accepted> {
        let permit = self.connections.clone().try_acquire_owned().ok()?;
        let (stream, peer) = SockRef::from(&self.socket).accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        let stream = TcpStream::from_std(stream.into()).ok()?;
        Some(self.accepted(stream, peer.as_socket()?, permit))
    }

    fn accepted(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) -> Accepted {
        // Small answers should not wait for the last one's acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
        self.metrics.accepted.increment();
        Accepted {
            stream,
            peer: display_peer(peer).into(),
            open: Open {
                metrics: self.metrics.clone(),
                _permit: permit,
            },
        }
    }
}

fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for old connections to time out.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    ) || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// IPv4 clients of a dual-stack socket are shown, and rate limited, under their IPv4 address.
fn display_peer(peer: SocketAddr) -> String {
    SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string()
}

/// A new connection.
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    /// The client's address, as guests read it.
    pub(super) peer: Arc<str>,
    pub(super) open: Open,
}

/// Held while a connection is open.
pub(super) struct Open {
    pub(super) metrics: Arc<ConnectionMetrics>,
    /// One of `max_connections`.
    _permit: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.closed.increment();
    }
}
