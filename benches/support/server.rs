//! Servers under measurement, each a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::process::Process;

/// For a thousand plugins.
const MAX_CACHE_BYTES: u64 = 8 << 30;

/// What a host is started with: the sections of its configuration, in TOML.
#[derive(Debug, Default, Clone)]
pub(crate) struct Setup {
    /// Names and components.
    pub(crate) plugins: Vec<(String, PathBuf)>,
    /// Keys of each plugin.
    pub(crate) plugin_keys: String,
    /// Keys of `[server]`.
    pub(crate) server_keys: String,
    /// Where compiled components are kept; in the host's own folder unless it is given.
    pub(crate) cache: Option<PathBuf>,
}

impl Setup {
    /// A host with one plugin.
    pub(crate) fn of(name: &str, component: &Path) -> Self {
        Self::default().and(name, component)
    }

    pub(crate) fn and(mut self, name: &str, component: &Path) -> Self {
        self.plugins.push((name.to_owned(), component.to_owned()));
        self
    }

    /// A line for the section of each plugin.
    pub(crate) fn plugin_key(mut self, key: &str) -> Self {
        self.plugin_keys += key;
        self.plugin_keys.push('\n');
        self
    }

    /// A line for the section of the server.
    pub(crate) fn server_key(mut self, key: &str) -> Self {
        self.server_keys += key;
        self.server_keys.push('\n');
        self
    }

    pub(crate) fn cache(mut self, folder: &Path) -> Self {
        self.cache = Some(folder.to_owned());
        self
    }

    fn text(&self, address: SocketAddr, folder: &Path) -> String {
        let (data, keys) = (folder.join("data"), &self.server_keys);
        let mut text = format!("[server]\nlisten = \"{address}\"\ndata = {data:?}\n{keys}");
        if let Some(cache) = &self.cache {
            text += &format!("[cache]\ndir = {cache:?}\nmax_bytes = {MAX_CACHE_BYTES}\n");
        }
        for (name, component) in &self.plugins {
            let keys = &self.plugin_keys;
            text += &format!("[plugins.{name}]\nfile = {component:?}\n{keys}");
        }
        text
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// The configuration and the data folder of a host.
    folder: Option<tempfile::TempDir>,
}

impl Server {
    /// A program that prints its address when it serves.
    pub(crate) fn announced(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("its address");
        Self {
            child,
            address: line.trim().parse().expect("an address"),
            folder: None,
        }
    }

    /// The host as an operator runs it, with every guard on, once it listens. Plugins may still be loading.
    pub(crate) fn mortise(setup: &Setup) -> Self {
        Self::host(setup, |config| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mortise"));
            command.arg("serve").arg("--config").arg(config);
            command
        })
    }

    /// A program that serves what a configuration file says.
    pub(crate) fn host(setup: &Setup, command: impl FnOnce(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = free_address();
        let config = folder.path().join("mortise.toml");
        std::fs::write(&config, setup.text(address, folder.path())).expect("a configuration");
        let mut child = command(&config)
            .stderr(Stdio::null())
            .spawn()
            .expect("the host starts");
        let started = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            let ended = child.try_wait().expect("it is ours");
            assert!(
                ended.is_none(),
                "the host ended: {}",
                setup.text(address, folder.path())
            );
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the host does not listen"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        Self {
            child,
            address,
            folder: Some(folder),
        }
    }

    /// What a host counts under this name, over all labels.
    pub(crate) async fn counted(&self, metric: &str) -> f64 {
        let admin = mortise::admin::connect(&self.data()).await;
        let request = mortise::admin::pb::GetMetricsRequest {};
        let metrics = admin.expect("it listens").get_metrics(request).await;
        let text = metrics.expect("an answer").into_inner().text;
        let samples = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            (series.split('{').next() == Some(metric)).then(|| value.parse::<f64>())
        });
        samples.map(|value| value.expect("a number")).sum()
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// The data folder of a host.
    pub(crate) fn data(&self) -> PathBuf {
        let folder = self.folder.as_ref().expect("it is a host");
        folder.path().join("data")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which the measurement has then noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}
