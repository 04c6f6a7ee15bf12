//! The way to a gRPC server, for the commands that are its clients.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::WithHint;
use super::exit::UsageError;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest header list that is taken from a server: what Mortise can be configured to send.
const MAX_METADATA_BYTES: u32 = 1 << 20;

/// Whether and how TLS is spoken. The names are those of curl and grpcurl.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArgs {
    /// Speaks TLS. The server's certificate must come from an authority that this machine trusts. The other
    /// options for TLS imply it.
    #[arg(long)]
    tls: bool,

    /// Authorities, in PEM, that the server's certificate may come from, instead of those that this machine
    /// trusts.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,

    /// The certificate to show to the server, in PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// The private key of --cert, in PEM and not encrypted.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// The name that the server's certificate must be for, by default that in its address.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
}

impl TlsArgs {
    pub(super) fn asked_for(&self) -> bool {
        self.tls || self.cacert.is_some() || self.cert.is_some() || self.server_name.is_some()
    }

    fn config(&self) -> anyhow::Result<ClientTlsConfig> {
        let mut tls = match &self.cacert {
            Some(file) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(file)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let (Some(certificate), Some(key)) = (&self.cert, &self.key) {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name);
        }
        Ok(tls.timeout(CONNECT_TIMEOUT))
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Connects to the server at `addr`: `HOST:PORT`, or `unix:PATH` for a Unix-domain socket.
pub(super) async fn connect(addr: &str, tls: &TlsArgs) -> anyhow::Result<Channel> {
    let endpoint = endpoint(addr, tls)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_max_header_list_size(MAX_METADATA_BYTES);
    let hint = match tls.asked_for() {
        false => "is the server running there, without TLS? `--tls` speaks it",
        true => "is the server running there, with TLS and a certificate that can be trusted?",
    };
    let channel = endpoint.connect().await;
    channel
        .with_context(|| format!("cannot connect to {addr}"))
        .hint(hint)
}

fn endpoint(addr: &str, tls: &TlsArgs) -> anyhow::Result<Endpoint> {
    let wrong = || UsageError(format!("{addr:?} is not an address such as 127.0.0.1:50051"));
    if addr.starts_with("unix:") {
        if tls.asked_for() {
            return Err(UsageError("TLS is not spoken on a Unix-domain socket".into()).into());
        }
        return Ok(Endpoint::from_shared(addr.to_owned()).map_err(|_| wrong())?);
    }
    let scheme = if tls.asked_for() { "https" } else { "http" };
    let authority = addr.strip_prefix("http://").unwrap_or(addr);
    let endpoint = Endpoint::from_shared(format!("{scheme}://{authority}"))
        .ok()
        .filter(|endpoint| endpoint.uri().port().is_some() && endpoint.uri().path() == "/")
        .ok_or_else(wrong)?;
    if !tls.asked_for() {
        return Ok(endpoint);
    }
    let endpoint = endpoint.tls_config(tls.config()?);
    endpoint.context("these files cannot be used for TLS")
}
