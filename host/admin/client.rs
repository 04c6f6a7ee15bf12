//! The way to a running host, for the command line.

use std::io;
use std::path::{Path, PathBuf};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::pb::admin_client::AdminClient;
use super::pb::store_client::StoreClient;
use super::pb::store_server::StoreServer;
use super::socket;
use super::store::{MAX_REQUEST_BYTES, StoreService};
use crate::capability::store::Store;

/// What the host may answer with at most: the metrics of a few thousand methods.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// What is under way between the two ends of a connection to itself.
const DUPLEX_BYTES: usize = 64 << 10;

/// Why a host cannot be administered.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there.
    #[error("no host runs with the data folder {}", .0.display())]
    NoHost(PathBuf),
    /// The system says that this user may not.
    #[error("this user may not administer the host with the data folder {}", .0.display())]
    NotAllowed(PathBuf),
    /// Any other reason.
    #[error("cannot connect to {}: {error}", socket.display())]
    Other {
        /// The socket.
        socket: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
}

/// Connects to the host with this data folder.
///
/// # Errors
/// If there is none, or it is not this user's.
pub async fn connect(data: &Path) -> Result<AdminClient<Channel>, ConnectError> {
    Ok(AdminClient::new(channel(data).await?).max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// The same, for what is to be done with its store.
///
/// # Errors
/// As [`connect`].
pub async fn connect_store(data: &Path) -> Result<StoreClient<Channel>, ConnectError> {
    Ok(StoreClient::new(channel(data).await?).max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A store of this process's own, behind the service that a host has for its store.
///
/// # Errors
/// If the connection to itself fails.
pub async fn serve_store(store: Store) -> Result<StoreClient<Channel>, tonic::transport::Error> {
    let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
    let service = StoreServer::new(StoreService::new(store)).max_decoding_message_size(MAX_REQUEST_BYTES);
    let service = TowerToHyperService::new(service);
    // It ends with the client's connection.
    tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(theirs), service));
    let channel = over(ours).await?;
    Ok(StoreClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES))
}

async fn channel(data: &Path) -> Result<Channel, ConnectError> {
    let socket = socket::path(data);
    let connected = UnixStream::connect(&socket).await;
    let stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ConnectError::NoHost(data.to_owned()),
        io::ErrorKind::PermissionDenied => ConnectError::NotAllowed(data.to_owned()),
        _ => other(&socket, error),
    })?;
    over(stream)
        .await
        .map_err(|error| other(&socket, io::Error::other(error)))
}

/// The channel asks for one connection; for a second one, when this one has ended, there is nobody.
async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Channel, tonic::transport::Error> {
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream.lock().take();
        std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted)))
    });
    // The name is not used: the connection is there.
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
}

fn other(socket: &Path, error: io::Error) -> ConnectError {
    ConnectError::Other {
        socket: socket.to_owned(),
        error,
    }
}
