//! TLS on the listener: the host's certificate, and certificates of clients if they are asked for.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

/// A larger file is no certificate.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What the host can speak inside TLS, preferred first (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where certificates and keys are, all in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The host's certificate, followed by those that issued it, without the root.
    pub certificate: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
    /// Roots that clients' certificates must come from. With it, a client without a certificate is refused.
    pub client_ca: Option<PathBuf>,
}

/// Which of the files is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// [`TlsFiles::certificate`]
    Certificate,
    /// [`TlsFiles::key`]
    Key,
    /// [`TlsFiles::client_ca`]
    ClientCa,
}

/// Why TLS cannot be had with the files that are there.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct TlsError {
    /// The file to look at.
    pub file: TlsFile,
    problem: String,
}

/// Accepts TLS connections.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads the files and checks that they belong together.
    ///
    /// # Errors
    /// If a file cannot be read, holds nothing usable, or key and certificate do not match.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = certificates(TlsFile::Certificate, &files.certificate)?;
        let key = private_key(&files.key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(TlsFile::Certificate, &files.certificate, &error))?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(TlsFile::ClientCa, file)? {
                    roots
                        .add(root)
                        .map_err(|error| unusable(TlsFile::ClientCa, file, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| unusable(TlsFile::ClientCa, file, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| mismatch(files, &error))?;
        if files.client_ca.is_some() {
            // A resumed session brings the certificate of the first one along without verifying it again, though
            // it may have expired by then.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// If the client speaks no TLS, or nothing of what is asked of it.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }
}

fn certificates(file: TlsFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(TlsError {
            file,
            problem: format!("no certificate in {}: it must be in PEM", path.display()),
        }),
        Err(error) => Err(unusable(file, path, &error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let file = TlsFile::Key;
    let text = read(file, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError {
        file,
        problem: format!(
            "no private key in {}: it must be in PEM (PKCS #8, PKCS #1 or SEC 1), and not encrypted",
            path.display()
        ),
    })
}

fn read(file: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text));
    let problem = match read {
        Ok(_) if text.len() as u64 > MAX_FILE_BYTES => {
            format!("{} is larger than 1 MiB", path.display())
        }
        Ok(_) => return Ok(text),
        Err(error) => format!("cannot read {}: {error}", path.display()),
    };
    Err(TlsError { file, problem })
}

fn unusable(file: TlsFile, path: &Path, error: &dyn std::error::Error) -> TlsError {
    TlsError {
        file,
        problem: format!("cannot use {}: {error}", path.display()),
    }
}

fn mismatch(files: &TlsFiles, error: &rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError {
            file: TlsFile::Key,
            problem: format!(
                "the key in {} is not that of the certificate in {}",
                files.key.display(),
                files.certificate.display()
            ),
        },
        rustls::Error::InvalidCertificate(_) => unusable(TlsFile::Certificate, &files.certificate, error),
        _ => unusable(TlsFile::Key, &files.key, error),
    }
}
