//! `mortise dev`: builds a plugin's crate, serves it, and swaps it on every save.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Builds a plugin, serves it, and rebuilds and swaps it on every save.
///
/// The crate is built for wasm32-wasip2, which rustup installs if it is missing. A version that does not
/// compile is shown as the compiler shows it, while the last good one goes on serving.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise dev                     the crate in the current folder
  mortise dev plugins/order --listen 127.0.0.1:8080")]
pub struct DevArgs {
    /// The plugin's crate.
    #[arg(value_name = "CRATE_DIR", default_value = ".")]
    pub crate_dir: PathBuf,

    /// The address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,

    /// The folder for everything the host keeps. By default it lies in the crate's `target` folder.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

pub(super) fn run(args: DevArgs) -> anyhow::Result<()> {
    anyhow::bail!("this build cannot serve {}", args.crate_dir.display())
}
