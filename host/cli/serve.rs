//! `mortise serve`: hosts plugins until told to stop.

use super::ConfigArgs;

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

pub(super) fn run(args: ServeArgs) -> anyhow::Result<()> {
    args.config.load()?;
    anyhow::bail!("this build cannot serve")
}
