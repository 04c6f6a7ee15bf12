//! The way to a running host, for the command line.

use std::io;
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::pb::admin_client::AdminClient;
use super::socket;

/// What the host may answer with at most: the metrics of a few thousand methods.
const MAX_ANSWER_BYTES: usize = 256 << 20;

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
    let socket = socket::path(data);
    let connected = UnixStream::connect(&socket).await;
    let stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ConnectError::NoHost(data.to_owned()),
        io::ErrorKind::PermissionDenied => ConnectError::NotAllowed(data.to_owned()),
        _ => other(&socket, error),
    })?;
    // The channel asks for one connection; for a second one, when this one has ended, there is nobody.
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream.lock().take();
        std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted)))
    });
    // The name is not used: the connection is there.
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .map_err(|error| other(&socket, io::Error::other(error)))?;
    Ok(AdminClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES))
}

fn other(socket: &Path, error: io::Error) -> ConnectError {
    ConnectError::Other {
        socket: socket.to_owned(),
        error,
    }
}
