//! Certificates and keys in their files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use super::validity;

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
    /// Roots that clients' certificates must come from. With it, clients are asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether they must have one. Without `client_ca` it says nothing.
    pub client_auth: ClientAuth,
}

/// What becomes of a client that is asked for a certificate and shows none. One that shows another than it may is
/// refused in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// It is refused in the handshake.
    Required,
    /// It is let in, as nobody in particular.
    Optional,
}

/// Files that were read and can be used.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// When the certificate, or the first of those that issued it, expires.
    pub(super) expires: SystemTime,
    /// Of everything that was read.
    pub(super) digest: [u8; 32],
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

impl TlsFiles {
    /// All of them.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let paths = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        paths.into_iter().flatten().map(PathBuf::as_path)
    }

    /// Reads the files and checks that they belong together.
    ///
    /// A certificate that is not valid today is an error, not a warning: no client that verifies it would connect,
    /// while everything that looks at the host itself would call it well.
    pub(super) fn load(&self) -> Result<Loaded, TlsError> {
        let mut read = Reading(Sha256::new());
        let chain = read.certificates(TlsFile::Certificate, &self.certificate)?;
        let expires = validity::check(&chain, SystemTime::now()).map_err(|problem| TlsError {
            file: TlsFile::Certificate,
            problem: format!("{}: {problem}", self.certificate.display()),
        })?;
        let key = read.private_key(&self.key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(TlsFile::Certificate, &self.certificate, &error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for root in read.certificates(TlsFile::ClientCa, file)? {
                    roots
                        .add(root)
                        .map_err(|error| unusable(TlsFile::ClientCa, file, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match self.client_auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| unusable(TlsFile::ClientCa, file, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| mismatch(self, &error))?;
        if self.client_ca.is_some() {
            // A resumed session brings the certificate of the first one along without verifying it again, though
            // it may have expired by then.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(Loaded {
            config: Arc::new(config),
            expires,
            digest: read.0.finalize().into(),
        })
    }
}

/// The digest of all that is read.
struct Reading(Sha256);

impl Reading {
    fn certificates(&mut self, file: TlsFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let text = self.read(file, path)?;
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

    fn private_key(&mut self, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
        let file = TlsFile::Key;
        let text = self.read(file, path)?;
        PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError {
            file,
            problem: if is_encrypted(&text) {
                format!(
                    "the private key in {path} is encrypted, and the host has no passphrase: store it decrypted, for \
                     instance by `openssl pkey -in {path} -out NEW-FILE`, readable by the host alone",
                    path = path.display()
                )
            } else {
                format!(
                    "no private key in {}: it must be in PEM (PKCS #8, PKCS #1 or SEC 1)",
                    path.display()
                )
            },
        })
    }

    fn read(&mut self, file: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text));
        let problem = match read {
            Ok(_) if text.len() as u64 > MAX_FILE_BYTES => {
                format!("{} is larger than 1 MiB", path.display())
            }
            Ok(_) => {
                self.0.update((text.len() as u64).to_be_bytes());
                self.0.update(&text);
                return Ok(text);
            }
            Err(error) => format!("cannot read {}: {error}", path.display()),
        };
        Err(TlsError { file, problem })
    }
}

/// PKCS #8 says so in its label, the older formats in a header.
fn is_encrypted(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
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
