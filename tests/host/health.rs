//! `mortise health`, as probes run it.

use std::process::{Command, Output};

use rustix::process::Signal;

use crate::support::{Host, Isolation, Plugin, Setup, until_some};

fn health(args: &[&str]) -> Output {
    let mut mortise = Command::new(env!("CARGO_BIN_EXE_mortise"));
    let output = mortise.arg("health").args(args).output();
    output.expect("the binary starts")
}

fn health_of(host: &Host) -> Output {
    health(&["--data", host.data.to_str().expect("UTF-8"), "--timeout", "20s"])
}

#[track_caller]
fn serves(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stdout, b"SERVING\n");
}

#[track_caller]
fn fails(output: &Output, code: i32, reason: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(reason), "{reason}: {stderr}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_asked_over_its_own_socket_or_as_clients_ask() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("mortise.sock");
    let section = format!("[server]\ndrain_delay_ms = 60000\nunix_socket = {socket:?}");
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(&section)
        .start()
        .await;
    let (address, unix) = (host.address.to_string(), format!("unix:{}", socket.display()));
    serves(&health_of(&host));
    for server in [address.as_str(), &unix] {
        serves(&health(&[server, "--timeout", "20s"]));
        let known = [server, "--timeout", "20s", "--service", "faults.v1.Faults"];
        serves(&health(&known));
        let unknown = [server, "--timeout", "20s", "--service", "a.B"];
        fails(&health(&unknown), 1, "does not know the service");
    }

    host.signal(Signal::TERM);
    let reason = "the host is not ready: it is draining";
    until_some("the drain", async || {
        (health_of(&host).status.code() != Some(0)).then_some(())
    })
    .await;
    fails(&health_of(&host), 4, reason);
    for server in [address.as_str(), &unix] {
        fails(&health(&[server, "--timeout", "20s"]), 4, "says NOT_SERVING");
    }
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_there_or_silent_is_not_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("UTF-8");
    fails(&health(&["--data", data]), 1, "no host runs with the data folder");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    fails(
        &health(&[address.as_str(), "--timeout", "200ms"]),
        1,
        "no answer within 200ms",
    );
    // The administration of a host that is stuck.
    let socket = std::os::unix::net::UnixListener::bind(folder.path().join("admin.sock"));
    let _socket = socket.expect("it is free");
    let stuck = ["--data", data, "--timeout", "200ms"];
    fails(&health(&stuck), 1, "no answer within 200ms");
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for args in [
        &["nowhere"][..],
        &["127.0.0.1:1", "--data", "x"],
        &["--service", "a.B"],
        &["--tls"],
        &["unix:/x", "--tls"],
        &["127.0.0.1:1", "--timeout", "soon"],
    ] {
        fails(&health(args), 2, "error: ");
    }
}
