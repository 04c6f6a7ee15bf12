//! What a service manager such as systemd hears of a host (sd_notify(3)).

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Host, Isolation, Plugin, Setup, until_some};

/// Stands for the service manager.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        Self { socket, folder }
    }

    fn setup(&self) -> Setup {
        let faults = Plugin::faults(Isolation::Call);
        Setup::of(faults).env("NOTIFY_SOCKET", self.folder.path().join("notify"))
    }

    /// What it is told next, in lines.
    async fn hears(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = until_some("a word of the host", async || self.socket.recv(&mut message).ok()).await;
        let text = str::from_utf8(&message[..length]).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    }

    /// Waits for a message with this line.
    async fn hears_until(&self, line: &str) {
        while !self.hears().await.iter().any(|said| said == line) {}
    }
}

async fn stop(host: Host) {
    host.signal(Signal::TERM);
    assert_eq!(host.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_hears_when_the_host_serves_and_when_it_ends() {
    let manager = Manager::new();
    let section = "[server]\ndrain_delay_ms = 1000\ndrain_timeout_ms = 120000";
    let host = manager.setup().with(section).start_without_asking().await;
    assert_eq!(manager.hears().await, ["READY=1"]);
    stop(host).await;
    // Time for the whole drain, and half a minute to close.
    assert_eq!(
        manager.hears().await,
        ["STOPPING=1", "EXTEND_TIMEOUT_USEC=151000000"]
    );
    assert!(
        manager.socket.recv(&mut [0; 64]).is_err(),
        "nobody asked for more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_hears_that_the_host_is_alive_as_often_as_it_wants() {
    let manager = Manager::new();
    let host = manager
        .setup()
        .env("WATCHDOG_USEC", "200000")
        .start_without_asking()
        .await;
    assert_eq!(manager.hears().await, ["READY=1"]);
    for _ in 0..5 {
        assert_eq!(manager.hears().await, ["WATCHDOG=1"]);
    }
    stop(host).await;
    manager.hears_until("STOPPING=1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_gone_keeps_no_host_from_serving() {
    let manager = Manager::new();
    let setup = manager.setup();
    drop(manager);
    let host = setup.start().await;
    host.log
        .wait_for("a warning", |line| {
            line.level() == "WARN"
                && line.message() == "the service manager could not be told how the host is"
        })
        .await;
    stop(host).await;
}
