//! A host within the test's own process, whose disk the test has in its hands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mortise::app::App;
use mortise::capability::store::{Options, Store};
use mortise::config::{Config, Overrides};
use redb::StorageBackend;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::admin;
use super::exposition::Exposition;
use super::raw::RawClient;
use super::within_patience;

/// Few, so that a run of a few commits has its checkpoint.
const CHECKPOINT_BYTES: usize = 8 << 10;

/// A host that serves.
#[derive(Debug)]
pub(crate) struct Embedded {
    address: SocketAddr,
    data: PathBuf,
    stop: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
    _folder: TempDir,
}

impl Embedded {
    pub(super) async fn start(
        config: &Path,
        folder: TempDir,
        data: PathBuf,
        disk: impl StorageBackend,
    ) -> Self {
        let overrides = Overrides {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            data: Some(data.clone()),
            ..Overrides::default()
        };
        let config = Config::load(Some(config), &overrides).expect("it is valid");
        let app = App::start_with(&config, |_, options| {
            let options = Options {
                checkpoint_bytes: CHECKPOINT_BYTES,
                ..options
            };
            Store::on_storage(disk, options)
        });
        let app = app.await;
        let app = app.expect("it starts");
        app.load_plugins().await.expect("they are loaded");
        let listening = app.listening().expect("it listens");
        let (stop, stopped) = oneshot::channel();
        let running = app.run(async move { drop(stopped.await) });
        Self {
            address: listening.address.expect("on a network"),
            data,
            stop,
            running: tokio::spawn(running),
            _folder: folder,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection.
    pub(crate) async fn raw(&self) -> RawClient {
        RawClient::connect(self.address).await
    }

    pub(crate) async fn metrics(&self) -> Exposition {
        admin::metrics(&self.data).await
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        let ended = within_patience("the end of the host", self.running).await;
        ended.expect("no panic").expect("it ends well");
    }
}
