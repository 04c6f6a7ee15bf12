//! `mortise call` and `mortise health` as clients that speak TLS.

use std::process::{Command, Output};

use super::{Files, authority, issue, start};
use crate::support::{Host, Isolation};

/// Runs a command in the folder of the files, against the host by the name in its certificate.
fn run(files: &Files, host: &Host, command: &str, args: &[&str]) -> Output {
    let address = format!("localhost:{}", host.address.port());
    let mut mortise = Command::new(env!("CARGO_BIN_EXE_mortise"));
    mortise.arg(command).current_dir(files.path());
    match command {
        "call" => mortise.args(["faults.v1.Faults/Echo", "--timeout", "20s", "--addr", &address]),
        _ => mortise.args([address.as_str(), "--timeout", "20s"]),
    };
    mortise.args(args).output().expect("the binary starts")
}

#[track_caller]
fn fails(output: &Output, code: i32, reason: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(reason), "{reason}: {stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_verify_the_server() {
    let files = Files::new();
    files.write("ca.pem", &files.authority.as_ref().pem());
    files.write("other-ca.pem", &authority("someone else").as_ref().pem());
    let host = start(Isolation::Call, &files.section()).await;
    for command in ["call", "health"] {
        let output = run(&files, &host, command, &["--cacert", "ca.pem"]);
        assert!(output.status.success(), "{output:?}");
        // By an authority that nobody here knows, or under another name, or without TLS.
        fails(&run(&files, &host, command, &["--tls"]), 1, "UnknownIssuer");
        let output = run(&files, &host, command, &["--cacert", "other-ca.pem"]);
        fails(&output, 1, "cannot connect to localhost");
        let other = ["--cacert", "ca.pem", "--server-name", "orders.example"];
        fails(&run(&files, &host, command, &other), 1, "not valid for name");
        fails(&run(&files, &host, command, &[]), 1, "");
        // Mistakes on the command line.
        fails(
            &run(&files, &host, command, &["--cacert", "absent.pem"]),
            1,
            "cannot read absent.pem",
        );
        fails(&run(&files, &host, command, &["--cert", "ca.pem"]), 2, "--key");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_show_a_certificate() {
    let files = Files::new();
    let clients = authority("the clients' authority");
    files.write("ca.pem", &files.authority.as_ref().pem());
    files.write("clients.pem", &clients.as_ref().pem());
    let (certificate, key) = issue(&clients, "operator.test");
    files.write("me.pem", &certificate);
    files.write("me-key.pem", &key);
    let client_ca = files.path().join("clients.pem");
    let section = files.section() + &format!("tls_client_ca = {client_ca:?}\n");
    let host = start(Isolation::Call, &section).await;
    let args = ["--cacert", "ca.pem", "--cert", "me.pem", "--key", "me-key.pem"];
    for command in ["call", "health"] {
        let output = run(&files, &host, command, &args);
        assert!(output.status.success(), "{output:?}");
        if command == "call" {
            let answer = String::from_utf8_lossy(&output.stdout);
            assert!(
                answer.contains("\"principal\": \"dns:operator.test\""),
                "{answer}"
            );
        }
        fails(&run(&files, &host, command, &args[..2]), 1, "");
    }
    host.stop().await;
}
