//! `mortise reload`: a plugin's file, read again now.

use super::HostArgs;
use crate::admin::pb::ReloadPluginRequest;
use crate::cli::{print, printable};

/// Has a running host read a plugin's file again, and serve it if it is another one.
///
/// A host notices by itself when a file changes; this is for file systems where it cannot, and for scripts that
/// want to know what came of it. The exit code is 1 if the file is refused; what was live stays live.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise reload order
  mortise reload order --data /var/lib/mortise")]
pub(in crate::cli) struct ReloadArgs {
    /// The plugin, by the operator's name.
    #[arg(value_name = "NAME")]
    plugin: String,

    #[command(flatten)]
    host: HostArgs,
}

pub(in crate::cli) fn run(args: ReloadArgs) -> anyhow::Result<()> {
    let plugin = args.plugin;
    let reloaded = args.host.with(async |mut client| {
        let answer = client.reload_plugin(ReloadPluginRequest { plugin }).await?;
        Ok(answer.into_inner())
    })?;
    let live = reloaded.live.unwrap_or_default();
    let what = match reloaded.changed {
        true => "is live now",
        false => "was live already: the file is the same",
    };
    print(&format!(
        "{} generation {}, version {}, {what}\n",
        printable(&live.plugin),
        live.number,
        printable(&live.version)
    ))
}
