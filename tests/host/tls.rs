//! TLS, with and without certificates of clients.

mod commands;
mod reload;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::in_both_modes;
use crate::support::pb::faults::*;
use crate::support::raw::RawClient;
use crate::support::{Host, Isolation, Plugin, Setup, within_patience};

in_both_modes!(
    calls_are_served,
    clients_show_certificates_if_asked,
    clients_may_show_certificates,
    a_stalled_handshake_stalls_nobody,
);

const ECHO: &str = "/faults.v1.Faults/Echo";

/// Who issues certificates.
type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// A certificate for this name, and its key, both in PEM.
fn issue(authority: &Authority, name: &str) -> (String, String) {
    issue_for(authority, name, 2000..3000)
}

/// The same, valid from the beginning of one year to that of another.
fn issue_for(authority: &Authority, name: &str, years: Range<i32>) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.not_before = date_time_ymd(years.start, 1, 1);
    params.not_after = date_time_ymd(years.end, 1, 1);
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// A host's files, and what its clients need.
struct Files {
    folder: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let authority = authority("the host's authority");
        let (certificate, key) = issue(&authority, "localhost");
        let files = Self { folder, authority };
        files.write("certificate.pem", &certificate);
        files.write("key.pem", &key);
        files
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path().join(name), content).expect("the folder is new");
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn section(&self) -> String {
        let path = |name| self.path().join(name);
        format!(
            "[server]\ntls_certificate = {:?}\ntls_key = {:?}\n",
            path("certificate.pem"),
            path("key.pem")
        )
    }

    /// Connects as a client with this certificate.
    async fn connect(
        &self,
        host: &Host,
        identity: Option<(String, String)>,
        alpn: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
                config
                    .with_client_auth_cert(vec![certificate.expect("PEM")], key.expect("PEM"))
                    .expect("they match")
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(host.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

/// The health checks of a host's start speak no TLS, so these hosts are not waited for beyond their log.
async fn start(isolation: Isolation, section: &str) -> Host {
    Setup::of(Plugin::faults(isolation))
        .with(section)
        .start_without_asking()
        .await
}

async fn echo(host: &Host, stream: TlsStream<TcpStream>) {
    let request = EchoRequest {
        payload: vec![7; 100_000],
    };
    let raw = RawClient::over(stream, host.address).await;
    let answer = raw.unary(ECHO, &[], &request).await;
    assert_eq!(answer.message::<EchoResponse>().payload, request.payload);
}

async fn calls_are_served(isolation: Isolation) {
    let files = Files::new();
    let host = start(isolation, &files.section()).await;
    for alpn in [&["h2"][..], &["h2", "http/1.1"], &[]] {
        let stream = files.connect(&host, None, alpn).await.expect("a handshake");
        let chosen = stream.get_ref().1.alpn_protocol();
        assert_eq!(chosen, alpn.first().map(|name| name.as_bytes()));
        echo(&host, stream).await;
    }
    // gRPC-Web over HTTP/1.1.
    let mut stream = files
        .connect(&host, None, &["http/1.1"])
        .await
        .expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = format!(
        "POST {ECHO} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc-web\r\n\
         content-length: 5\r\nconnection: close\r\n\r\n\0\0\0\0\0"
    );
    stream.write_all(request.as_bytes()).await.expect("it is open");
    let mut answer = Vec::new();
    within_patience("an answer", stream.read_to_end(&mut answer))
        .await
        .expect("a whole answer");
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("grpc-status: 0"),
        "{answer}"
    );
    // Nothing else is spoken, neither another protocol nor none at all.
    assert!(files.connect(&host, None, &["spdy/3"]).await.is_err());
    let mut stream = TcpStream::connect(host.address).await.expect("the host listens");
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .expect("it is open");
    let mut answer = Vec::new();
    // An alert, or a reset: what matters is that it ends.
    let _ = within_patience("the end of the connection", stream.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"\0\0"), "no HTTP/2 frame: {answer:?}");
    host.stop().await;
}

async fn clients_show_certificates_if_asked(isolation: Isolation) {
    let files = Files::new();
    let clients = authority("the clients' authority");
    files.write("clients.pem", &clients.as_ref().pem());
    let section = format!(
        "{}tls_client_ca = {:?}\n",
        files.section(),
        files.path().join("clients.pem")
    );
    let host = start(isolation, &section).await;
    let known = issue(&clients, "client");
    let stream = files
        .connect(&host, Some(known), &["h2"])
        .await
        .expect("a handshake");
    echo(&host, stream).await;
    // In TLS 1.3 a client learns only afterwards that it was refused.
    for identity in [None, Some(issue(&authority("someone else"), "client"))] {
        let refused = async {
            let mut stream = files.connect(&host, identity, &["h2"]).await?;
            stream.read_u8().await
        };
        let refused = within_patience("a refusal", refused).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    host.stop().await;
}

/// Who calls, as the plugin reads it.
async fn principal(host: &Host, stream: TlsStream<TcpStream>) -> Option<String> {
    let raw = RawClient::over(stream, host.address).await;
    let answer = raw.unary(ECHO, &[], &EchoRequest::default()).await;
    answer.message::<EchoResponse>().principal
}

async fn clients_may_show_certificates(isolation: Isolation) {
    let files = Files::new();
    let clients = authority("the clients' authority");
    files.write("clients.pem", &clients.as_ref().pem());
    let section = format!(
        "{}tls_client_ca = {:?}\ntls_client_auth = \"optional\"\n",
        files.section(),
        files.path().join("clients.pem")
    );
    let host = start(isolation, &section).await;
    // One after another in the same sandbox, where sandboxes are used again.
    for _ in 0..2 {
        for (identity, expected) in [
            (
                Some(issue(&clients, "cart.test")),
                Some("dns:cart.test".to_owned()),
            ),
            (None, None),
        ] {
            let stream = files.connect(&host, identity, &["h2"]).await;
            assert_eq!(principal(&host, stream.expect("a handshake")).await, expected);
        }
    }
    // Who shows one must show a good one.
    let expired = issue_for(&clients, "cart.test", 2000..2020);
    for identity in [issue(&authority("someone else"), "cart.test"), expired] {
        let refused = async {
            let mut stream = files.connect(&host, Some(identity), &["h2"]).await?;
            stream.read_u8().await
        };
        let refused = within_patience("a refusal", refused).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    host.stop().await;
}

async fn a_stalled_handshake_stalls_nobody(isolation: Isolation) {
    let files = Files::new();
    let section = files.section() + "tls_handshake_timeout_ms = 200\n";
    let host = start(isolation, &section).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(host.address).await.expect("the host listens"));
    }
    let stream = files.connect(&host, None, &["h2"]).await.expect("a handshake");
    echo(&host, stream).await;
    for mut stream in silent {
        let mut nothing = Vec::new();
        let _ = within_patience("the end of the handshake", stream.read_to_end(&mut nothing)).await;
        assert!(nothing.is_empty(), "{nothing:?}");
    }
    host.stop().await;

    // Nor does one keep a host from stopping.
    let section = files.section() + "tls_handshake_timeout_ms = 600000\n";
    let host = start(isolation, &section).await;
    let silent = TcpStream::connect(host.address).await.expect("the host listens");
    let stream = files.connect(&host, None, &["h2"]).await.expect("a handshake");
    echo(&host, stream).await;
    host.stop().await;
    drop(silent);
}

#[tokio::test]
async fn files_that_do_not_do_are_refused_at_the_start() {
    let files = Files::new();
    let (_, other_key) = issue(&files.authority, "localhost");
    files.write("other-key.pem", &other_key);
    files.write("empty.pem", "");
    files.write(
        "garbage.pem",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    );
    let (expired, expired_key) = issue_for(&files.authority, "localhost", 2000..2020);
    files.write("expired.pem", &expired);
    files.write("expired-key.pem", &expired_key);
    let (early, early_key) = issue_for(&files.authority, "localhost", 2900..3000);
    files.write("early.pem", &early);
    files.write("early-key.pem", &early_key);
    // A valid certificate that comes with one of its issuer's that is not.
    let (certificate, _) = issue(&files.authority, "localhost");
    files.write("expired-issuer.pem", &(certificate + &expired));
    files.write(
        "encrypted-key.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGbMFcGCSqGSIb3DQEFDTBKMCkG\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    files.write(
        "encrypted-old-key.pem",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMIGb\n\
         -----END RSA PRIVATE KEY-----\n",
    );
    for (certificate, key, client_ca, reason) in [
        (
            "expired.pem",
            "expired-key.pem",
            None,
            "expired.pem: certificate 1 has expired, on 2020-01-01T00:00:00Z: put a new one there",
        ),
        (
            "early.pem",
            "early-key.pem",
            None,
            "early.pem: certificate 1 is not valid before 2900-01-01T00:00:00Z",
        ),
        (
            "expired-issuer.pem",
            "key.pem",
            None,
            "expired-issuer.pem: certificate 2 has expired",
        ),
        (
            "certificate.pem",
            "encrypted-key.pem",
            None,
            "encrypted-key.pem is encrypted, and the host has no passphrase",
        ),
        (
            "certificate.pem",
            "encrypted-old-key.pem",
            None,
            "encrypted-old-key.pem is encrypted, and the host has no passphrase",
        ),
        ("gone.pem", "key.pem", None, "server.tls_certificate: cannot read"),
        (
            "empty.pem",
            "key.pem",
            None,
            "server.tls_certificate: no certificate in",
        ),
        (
            "garbage.pem",
            "key.pem",
            None,
            "server.tls_certificate: cannot use",
        ),
        ("certificate.pem", "gone.pem", None, "server.tls_key: cannot read"),
        (
            "certificate.pem",
            "certificate.pem",
            None,
            "server.tls_key: no private key in",
        ),
        (
            "certificate.pem",
            "other-key.pem",
            None,
            "server.tls_key: the key in",
        ),
        (
            "certificate.pem",
            "key.pem",
            Some("empty.pem"),
            "server.tls_client_ca: no certificate in",
        ),
    ] {
        let path = |name| files.path().join(name);
        let mut section = format!(
            "[server]\ntls_certificate = {:?}\ntls_key = {:?}\n",
            path(certificate),
            path(key)
        );
        if let Some(client_ca) = client_ca {
            section += &format!("tls_client_ca = {:?}\n", path(client_ca));
        }
        let ended = Setup::of(Plugin::faults(Isolation::Call))
            .with(&section)
            .run()
            .await;
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{reason}: {}", ended.stderr);
    }
    let section = files.section() + "tls_client_auth = \"optional\"\n";
    let ended = Setup::of(Plugin::faults(Isolation::Call))
        .with(&section)
        .run()
        .await;
    let reason = "server.tls_client_auth: is of no use without server.tls_client_ca";
    assert!(ended.stderr.contains(reason), "{}", ended.stderr);
    assert_eq!(ended.code, Some(3));
    let half = format!("[server]\ntls_key = {:?}", files.path().join("key.pem"));
    let ended = Setup::of(Plugin::faults(Isolation::Call)).with(&half).run().await;
    let reason = "server.tls_key: TLS needs both server.tls_certificate and server.tls_key";
    assert!(ended.stderr.contains(reason), "{}", ended.stderr);
}
