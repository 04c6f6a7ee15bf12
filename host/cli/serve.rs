//! `mortise serve`: hosts plugins until told to stop.

use anyhow::Context as _;

use super::ConfigArgs;
use super::check::mistakes;
use crate::app::{App, PluginsRefused};
use crate::auth;
use crate::config::{Config, ConfigErrors};
use crate::generations::watch;
use crate::observe::logging;
use crate::server::inline;
use crate::{service_manager, shutdown};

/// Serves plugins.
///
/// Serves the plugins that flags and the configuration file name, picks up plugin files that are replaced,
/// and runs until SIGTERM or Ctrl-C. Then health turns NOT_SERVING, calls in progress are given
/// `server.drain_timeout_ms` to finish, and the exit code is 0. A second signal ends it at once.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise serve --plugin order=order.wasm
  mortise serve --plugin order=order.wasm --listen 127.0.0.1:8080 --data /var/lib/mortise
  mortise serve --config /etc/mortise/mortise.toml

`mortise check` takes the same flags and reports every mistake without serving.")]
pub struct ServeArgs {
    /// What to serve, and how.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Tasks that a worker thread runs at most before it looks what else there is to do: bytes that have come, and calls
/// that let others go first, for which tokio's 61 batches of brief calls would be 30 ms.
const LOOK_UP_AFTER: u32 = 8;

/// The worker threads of `server.worker_threads`.
pub(super) fn runtime(config: &Config) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.server.worker_threads {
        builder.worker_threads(threads);
    }
    inline::count_idle_workers(&mut builder);
    builder
        .enable_all()
        .event_interval(LOOK_UP_AFTER)
        .thread_name("mortise-worker")
        .build()
        .context("cannot start worker threads")
}

pub(super) fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    logging::init(&config.log)?;
    runtime(&config)?.block_on(serve(&config))
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let app = App::start(config).await?;
    // Watched from before they are read, so that a change while they load is not missed.
    let reloading = watch::reload_on_change(app.registry.clone());
    let keys = auth::reload_on_change(app.auth.clone());
    app.load_plugins()
        .await
        .map_err(|refused| refusal(config, refused))?;
    tokio::spawn(reloading.context("cannot watch the plugin files")?);
    let certificates = app.reload_certificates();
    tokio::spawn(certificates.context("cannot watch the files of the certificate")?);
    tokio::spawn(keys.context("cannot watch the keys of the issuers")?);
    // From here on a signal drains, so before anybody is told that the host serves.
    let shutdown = shutdown::requested().context("cannot listen to signals")?;
    let listening = app.listening()?;
    let unix_socket = listening
        .unix_socket
        .as_ref()
        .map(|path| tracing::field::display(path.display()));
    let admin = app.admin_addr().map(tracing::field::display);
    tracing::info!(
        address = listening.address.map(tracing::field::display),
        unix_socket,
        admin,
        "listening"
    );
    service_manager::ready();
    tokio::spawn(service_manager::keep_alive());
    let draining = config.server.drain_delay + config.server.drain_timeout;
    app.run(async {
        shutdown.await;
        service_manager::stopping(draining);
    })
    .await
}

/// A configuration error, with the places in the file, if the configuration is among the reasons.
fn refusal(config: &Config, refused: PluginsRefused) -> anyhow::Error {
    if !refused.0.iter().any(|(_, error)| error.is_config()) {
        return refused.into();
    }
    let mistakes = refused
        .0
        .iter()
        .flat_map(|(name, error)| mistakes(config, name.as_str(), error));
    match ConfigErrors::check(mistakes.collect()) {
        Err(errors) => errors.into(),
        Ok(()) => refused.into(),
    }
}
