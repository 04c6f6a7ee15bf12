//! `mortise check`: every mistake in a configuration, without serving it.

use std::fmt::Write;

use super::{ConfigArgs, print};
use crate::config::{Config, Isolation};

/// Reports every mistake in the configuration, and serves nothing.
///
/// Without `--config` and `--plugin` it checks `mortise.toml` in the current folder. A configuration that is
/// right is summed up, with exit code 0; one that is wrong gives exit code 3.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise check
  mortise check --config /etc/mortise/mortise.toml
  mortise check --plugin order=order.wasm")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(mut args: CheckArgs) -> anyhow::Result<()> {
    if args.config.config.is_none() && args.config.plugins.is_empty() {
        args.config.config = Some("mortise.toml".into());
    }
    print(&summary(&args.config.load()?))
}

/// What would be served. Values for plugins are not shown: they may be secret.
fn summary(config: &Config) -> String {
    let mut page = String::from("The configuration is valid.\n");
    let _ = writeln!(page, "listen   {}", config.server.listen);
    let _ = writeln!(page, "data     {}", config.server.data.display());
    for (name, plugin) in &config.plugins {
        let isolation = match plugin.isolation {
            Isolation::Call => "a sandbox per call".to_owned(),
            Isolation::Reuse => format!("a sandbox per {} calls", plugin.max_reuse_calls),
        };
        let _ = writeln!(page, "plugin   {name}: {}, {isolation}", plugin.file.display());
    }
    page
}
