//! Servers under measurement, each a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    _data: Option<tempfile::TempDir>,
}

impl Server {
    /// A process that says at `address` that it serves.
    pub(crate) fn of(process: Child, address: SocketAddr) -> Self {
        Self {
            process,
            address,
            _data: None,
        }
    }

    /// The host as an operator runs it, with every guard on.
    pub(crate) fn mortise(plugins: &[(&str, &Path)], isolation: &str, server_keys: &str) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let address = free_address();
        let config = data.path().join("mortise.toml");
        let mut text = format!(
            "[server]\nlisten = \"{address}\"\ndata = \"{}/data\"\n{server_keys}\n",
            data.path().display(),
        );
        for (name, component) in plugins {
            let file = component.display();
            text += &format!("[plugins.{name}]\nfile = \"{file}\"\nisolation = \"{isolation}\"\n");
        }
        std::fs::write(&config, text).expect("a configuration");
        let process = Command::new(env!("CARGO_BIN_EXE_mortise"))
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .expect("mortise starts");
        let started = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "mortise does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            process,
            address,
            _data: Some(data),
        }
    }

    /// Lets it use one processor only.
    pub(crate) fn pin(&self, processor: u32) {
        pin(self.process.id(), processor);
    }

    /// User and system time so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        cpu_time(self.process.id())
    }
}

/// Lets a process, with all its threads, use one processor only.
pub(crate) fn pin(process: u32, processor: u32) {
    let status = Command::new("taskset")
        .args([
            "--all-tasks",
            "--pid",
            "--cpu-list",
            &processor.to_string(),
            &process.to_string(),
        ])
        .stdout(Stdio::null())
        .status()
        .expect("taskset, of util-linux, is there");
    assert!(status.success(), "there is no processor {processor}");
}

/// User and system time of a process so far.
pub(crate) fn cpu_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("stat");
    // The second field, the program's name, may hold spaces and ends with the last parenthesis.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .expect("a name")
        .1
        .split_whitespace()
        .collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("ticks");
    // Fields 14 and 15 of proc(5), in ticks of 10 ms.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which the measurement has then noticed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// Builds a plugin as its author would for production.
pub(crate) fn build_component(plugin: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let target = target.expect("it is in the target folder").join("plugins");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "-p", plugin, "--target", "wasm32-wasip2"])
        .current_dir(root.join("plugins"))
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the plugin builds");
    target.join(format!("wasm32-wasip2/release/{plugin}.wasm"))
}
