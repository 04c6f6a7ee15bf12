//! The listening sockets and their connections.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::ConnectionMetrics;
use super::peer::Peer;
use super::unix_socket::{UnixSocket, UnixSocketError, UnixSocketOptions};

const BACKLOG: i32 = 1024;

/// How long accepting pauses after the system refused a connection, for instance for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What to listen on.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// None listens on no network.
    pub address: Option<SocketAddr>,
    /// Other processes of the same user that ask for it may listen on the address too.
    pub reuse_port: bool,
    /// One more socket, for processes of this machine.
    pub unix_socket: Option<UnixSocketOptions>,
    /// Over both; further connections wait in the backlog.
    pub max_connections: usize,
    /// How long what was sent to a client may wait to be taken, by the client's system, before the connection is
    /// cut. None leaves it to the system.
    pub send_timeout: Option<Duration>,
}

/// Bound sockets that accept at most so many connections at once; further ones wait in the backlog.
#[derive(Debug)]
pub struct Listener {
    network: Option<TcpListener>,
    unix: Option<UnixSocket>,
    connections: Arc<Semaphore>,
    send_timeout: Option<Duration>,
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
    /// It is the Unix-domain socket's path.
    #[error(transparent)]
    UnixSocket(#[from] UnixSocketError),
}

/// Where clients find the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// With the port the system chose if 0 was asked for.
    pub address: Option<SocketAddr>,
    /// The path of the Unix-domain socket.
    pub unix_socket: Option<PathBuf>,
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, &self.unix_socket) {
            (Some(address), _) => address.fmt(f),
            (None, Some(path)) => write!(f, "unix:{}", path.display()),
            (None, None) => Ok(()),
        }
    }
}

impl Listener {
    /// Binds the sockets. The address `[::]` also takes IPv4, and means `0.0.0.0` where the system has no IPv6.
    ///
    /// # Errors
    /// If one cannot be had.
    pub fn bind(options: &ListenOptions) -> Result<Self, ListenError> {
        let network = options
            .address
            .map(|address| bind_network(address, options.reuse_port))
            .transpose()?;
        let unix = options.unix_socket.as_ref().map(UnixSocket::bind).transpose()?;
        Ok(Self {
            network,
            unix,
            connections: Arc::new(Semaphore::new(options.max_connections)),
            send_timeout: options.send_timeout,
            metrics: Arc::default(),
        })
    }

    /// What is counted of its connections.
    pub fn metrics(&self) -> &Arc<ConnectionMetrics> {
        &self.metrics
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn listening(&self) -> io::Result<Listening> {
        Ok(Listening {
            address: self.network.as_ref().map(TcpListener::local_addr).transpose()?,
            unix_socket: self.unix.as_ref().map(|unix| unix.path().to_owned()),
        })
    }

    /// The next connection. Never fails: one refused connection is not the end of all. May be dropped at any
    /// time.
    pub(super) async fn accept(&self) -> Accepted {
        loop {
            // The semaphore is never closed.
            let Ok(permit) = self.connections.clone().acquire_owned().await else {
                continue;
            };
            let accepted = tokio::select! {
                accepted = accept_network(self.network.as_ref()) => accepted,
                accepted = accept_unix(self.unix.as_ref()) => accepted,
            };
            match accepted {
                Ok((socket, peer)) => return self.accepted(socket, peer, permit),
                Err(error) => {
                    self.metrics.not_accepted.increment();
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The next connection of a backlog, if one waits and may be had. It asks the kernel itself, because the
    /// runtime may not have heard yet.
    pub(super) fn take_waiting(&self) -> Option<Accepted> {
        let permit = self.connections.clone().try_acquire_owned().ok()?;
        let (socket, peer) = self.take_waiting_network().or_else(|| self.take_waiting_unix())?;
        Some(self.accepted(socket, peer, permit))
    }

    fn take_waiting_network(&self) -> Option<(ClientSocket, Peer)> {
        let (stream, peer) = SockRef::from(self.network.as_ref()?).accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        let stream = TcpStream::from_std(stream.into()).ok()?;
        Some((ClientSocket::Network(stream), Peer::network(peer.as_socket()?)))
    }

    fn take_waiting_unix(&self) -> Option<(ClientSocket, Peer)> {
        let (stream, _) = SockRef::from(&self.unix.as_ref()?.listener).accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        let stream = UnixStream::from_std(stream.into()).ok()?;
        Some((ClientSocket::Unix(stream), Peer::Unix))
    }

    fn accepted(&self, socket: ClientSocket, peer: Peer, permit: OwnedSemaphorePermit) -> Accepted {
        if let ClientSocket::Network(stream) = &socket {
            // Small answers should not wait for the last one's acknowledgement.
            let options = stream
                .set_nodelay(true)
                .and_then(|()| SockRef::from(stream).set_tcp_user_timeout(self.send_timeout));
            if let Err(error) = options {
                tracing::debug!(%error, "a connection lacks its options");
            }
        }
        self.metrics.accepted.increment();
        Accepted {
            socket,
            peer,
            open: Open {
                metrics: self.metrics.clone(),
                _permit: permit,
            },
        }
    }
}

async fn accept_network(listener: Option<&TcpListener>) -> io::Result<(ClientSocket, Peer)> {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let (stream, peer) = listener.accept().await?;
    Ok((ClientSocket::Network(stream), Peer::network(peer)))
}

async fn accept_unix(socket: Option<&UnixSocket>) -> io::Result<(ClientSocket, Peer)> {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    let (stream, _) = socket.listener.accept().await?;
    Ok((ClientSocket::Unix(stream), Peer::Unix))
}

fn bind_network(address: SocketAddr, reuse_port: bool) -> Result<TcpListener, ListenError> {
    let bound = match bind(address, reuse_port) {
        Err(error) if is_without_ipv6(&error) && address.ip().is_unspecified() && address.is_ipv6() => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into(), reuse_port)
        }
        bound => bound,
    };
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::Other { address, error },
    })
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

/// A socket of one client.
pub(super) enum ClientSocket {
    Network(TcpStream),
    Unix(UnixStream),
}

/// A new connection.
pub(super) struct Accepted {
    pub(super) socket: ClientSocket,
    /// Who connected, which may be a proxy.
    pub(super) peer: Peer,
    pub(super) open: Open,
}

/// Held while a connection is open.
pub(super) struct Open {
    metrics: Arc<ConnectionMetrics>,
    /// One of `max_connections`.
    _permit: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.closed.increment();
    }
}
