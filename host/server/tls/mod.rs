//! TLS on the listener: the host's certificate, and certificates of clients if they are asked for.

mod files;
mod reload;
mod validity;

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use files::Loaded;
pub use files::{ClientAuth, TlsError, TlsFile, TlsFiles};

/// Accepts TLS connections. Clones share it, and what is read again.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    files: TlsFiles,
    /// A handshake takes what is there as it begins, once.
    serving: ArcSwap<Loaded>,
}

impl Tls {
    /// Reads the files and checks that they belong together.
    ///
    /// # Errors
    /// If a file cannot be read or holds nothing usable, key and certificate do not match, or the certificate is
    /// not valid today.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let serving = ArcSwap::from_pointee(files.load()?);
        let files = files.clone();
        Ok(Self {
            shared: Arc::new(Shared { files, serving }),
        })
    }

    /// Reads the files again whenever they change, until dropped. Connections that there are stay as they are. Files
    /// that cannot be used are told once, and those that were read before stay.
    ///
    /// # Errors
    /// If the folders of the files cannot be watched.
    pub fn reload_on_change(&self) -> notify::Result<impl Future<Output = ()> + use<>> {
        reload::reload_on_change(self.clone())
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// If the client speaks no TLS, or nothing of what is asked of it.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.shared.serving.load().config.clone();
        TlsAcceptor::from(config).accept(stream).await
    }
}
