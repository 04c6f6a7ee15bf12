//! Administration of a running host: gRPC on a Unix-domain socket in the data folder, which only the host's
//! user may connect to, and pages for probes and collectors, there and on a TCP address if one is configured.
//!
//! Over TCP nothing can be changed and no gRPC is served, because there nobody is asked who they are.

mod client;
mod deferred;
mod generations;
mod log_filter;
mod pages;
mod server;
mod service;
mod socket;
mod status;
mod store;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};

pub use client::{ConnectError, connect, connect_store, serve_store};
pub use socket::path as socket_path;
pub use status::Host;

use server::Server;
use socket::Socket;

/// Made from `proto/mortise/admin/v1/admin.proto`.
#[allow(missing_docs, clippy::all)]
pub mod pb {
    tonic::include_proto!("mortise.admin.v1");

    /// The service's descriptors, encoded.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/admin.binpb"));
}

/// The listeners of the administration. It ends when this is dropped.
pub struct Admin {
    _serving: JoinSet<()>,
    _socket: Socket,
    address: Option<SocketAddr>,
}

impl Admin {
    /// Listens on the socket in `data`, whose lock the host must hold, and on `tcp` if there is one.
    ///
    /// # Errors
    /// If one of them cannot be had.
    pub async fn start(host: Host, data: &Path, tcp: Option<SocketAddr>) -> anyhow::Result<Self> {
        let host = Arc::new(host);
        let mut serving = JoinSet::new();
        let (socket, listener) = Socket::bind(data).context("cannot open the administration's socket")?;
        serving.spawn(Server::local(host.clone()).serve(UnixListenerStream::new(listener)));
        let mut address = None;
        if let Some(tcp) = tcp {
            let listener = TcpListener::bind(tcp)
                .await
                .with_context(|| format!("cannot listen on {tcp} (admin.listen)"))?;
            address = listener.local_addr().ok();
            serving.spawn(Server::remote(host).serve(TcpListenerStream::new(listener)));
        }
        Ok(Self {
            _serving: serving,
            _socket: socket,
            address,
        })
    }

    /// Where the pages are on TCP, with the port the system chose if 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}
