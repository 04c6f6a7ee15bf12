//! Certificates that are replaced while the host serves.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::{ECHO, Files, authority, echo, issue, issue_for, start};
use crate::support::pb::faults::*;
use crate::support::raw::RawClient;
use crate::support::{Host, Isolation, until_some};

/// The certificate that a new connection is shown.
async fn shown(files: &Files, host: &Host) -> CertificateDer<'static> {
    let stream = files.connect(host, None, &["h2"]).await.expect("a handshake");
    let chain = stream.get_ref().1.peer_certificates().expect("it is shown");
    let shown = chain[0].clone().into_owned();
    echo(host, stream).await;
    shown
}

async fn is_shown(files: &Files, host: &Host, certificate: &str) {
    let expected = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    until_some("the new certificate", async || {
        (shown(files, host).await == expected).then_some(())
    })
    .await;
}

/// Writes a file as careful tools do.
fn replace(files: &Files, name: &str, content: &str) {
    let new = files.path().join("new");
    fs::write(&new, content).expect("the folder is there");
    fs::rename(&new, files.path().join(name)).expect("the folder is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_served_and_no_call_fails() {
    let files = Files::new();
    let host = start(Isolation::Call, &files.section()).await;
    let stop = Arc::new(AtomicBool::new(false));
    // One that stays connected all the time, and one that connects for each call.
    let old = files.connect(&host, None, &["h2"]).await.expect("a handshake");
    let old = RawClient::over(old, host.address).await;
    let calling = {
        let (old, stop) = (old.clone(), stop.clone());
        tokio::spawn(async move {
            let mut served = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = old.unary(ECHO, &[], &EchoRequest::default()).await;
                answer.message::<EchoResponse>();
                served += 1;
            }
            served
        })
    };
    for round in 0..5 {
        let (certificate, key) = issue(&files.authority, "localhost");
        // In whichever order: what does not belong together is not taken.
        if round % 2 == 0 {
            replace(&files, "certificate.pem", &certificate);
            replace(&files, "key.pem", &key);
        } else {
            replace(&files, "key.pem", &key);
            replace(&files, "certificate.pem", &certificate);
        }
        is_shown(&files, &host, &certificate).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(calling.await.expect("every call is served") > 0);
    assert!(!old.is_closed());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_is_kept_out_while_the_old_one_serves() {
    let files = Files::new();
    let host = start(Isolation::Call, &files.section()).await;
    let good = fs::read_to_string(files.path().join("certificate.pem")).expect("it is there");
    let good_der = CertificateDer::from_pem_slice(good.as_bytes()).expect("PEM");
    let (expired, _) = issue_for(&files.authority, "localhost", 2000..2020);
    let (other, other_key) = issue(&files.authority, "localhost");
    for (content, reason) in [
        ("", "no certificate in"),
        (expired.as_str(), "has expired, on 2020-01-01T00:00:00Z"),
        (other.as_str(), "is not that of the certificate in"),
    ] {
        let seen = host.log.len();
        replace(&files, "certificate.pem", content);
        host.log
            .wait_for_after(seen, reason, |line| {
                line.level() == "ERROR"
                    && line.message().starts_with("certificate and key not read again")
                    && line.message().contains(reason)
            })
            .await;
        assert_eq!(shown(&files, &host).await, good_der);
    }
    // The rest of a change that was half done.
    replace(&files, "key.pem", &other_key);
    is_shown(&files, &host, &other).await;
    host.stop().await;
}

/// Points `..data` of `folder` to another folder, in one step.
fn mount(folder: &Path, version: &str, certificate: &str, key: &str) {
    fs::create_dir(folder.join(version)).expect("it is new");
    fs::write(folder.join(version).join("tls.crt"), certificate).expect("it is new");
    fs::write(folder.join(version).join("tls.key"), key).expect("it is new");
    symlink(version, folder.join("..data_tmp")).expect("it is new");
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("the folder is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mounted_secret_is_followed() {
    let files = Files::new();
    let folder = files.path().join("secret");
    fs::create_dir(&folder).expect("it is new");
    let (certificate, key) = issue(&files.authority, "localhost");
    mount(&folder, "..first", &certificate, &key);
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), folder.join(name)).expect("it is new");
    }
    let section = format!(
        "[server]\ntls_certificate = {:?}\ntls_key = {:?}\n",
        folder.join("tls.crt"),
        folder.join("tls.key")
    );
    let host = start(Isolation::Call, &section).await;
    is_shown(&files, &host, &certificate).await;
    let (certificate, key) = issue(&files.authority, "localhost");
    mount(&folder, "..second", &certificate, &key);
    fs::remove_dir_all(folder.join("..first")).expect("it is there");
    is_shown(&files, &host, &certificate).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_authorities_of_clients_are_read_too() {
    let files = Files::new();
    let (first, second) = (authority("first"), authority("second"));
    files.write("clients.pem", &first.as_ref().pem());
    let section = format!(
        "{}tls_client_ca = {:?}\n",
        files.section(),
        files.path().join("clients.pem")
    );
    let host = start(Isolation::Call, &section).await;
    let is_let_in = async |identity: &(String, String)| {
        let Ok(stream) = files.connect(&host, Some(identity.clone()), &["h2"]).await else {
            return false;
        };
        let raw = RawClient::over(stream, host.address).await;
        raw.is_served(ECHO, &EchoRequest::default()).await
    };
    let (of_first, of_second) = (issue(&first, "client"), issue(&second, "client"));
    assert!(is_let_in(&of_first).await);
    assert!(!is_let_in(&of_second).await);
    replace(&files, "clients.pem", &second.as_ref().pem());
    until_some("the second authority", async || {
        is_let_in(&of_second).await.then_some(())
    })
    .await;
    assert!(!is_let_in(&of_first).await);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_expires_soon_is_told_of() {
    let files = Files::new();
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.not_after = (std::time::SystemTime::now() + std::time::Duration::from_secs(36 * 60 * 60)).into();
    let certificate = params.signed_by(&key, &files.authority).expect("a certificate");
    files.write("certificate.pem", &certificate.pem());
    files.write("key.pem", &key.serialize_pem());
    let host = start(Isolation::Call, &files.section()).await;
    host.log
        .wait_for("the warning", |line| {
            line.level() == "WARN" && line.message() == "the certificate expires soon"
        })
        .await;
    host.stop().await;
}
