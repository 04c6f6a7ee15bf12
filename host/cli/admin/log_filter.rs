//! `mortise log-filter`: which lines a running host writes.

use super::HostArgs;
use crate::admin::pb::{GetLogFilterRequest, SetLogFilterRequest};
use crate::cli::{print, printable};

/// Shows or changes which log lines a running host writes.
///
/// With FILTER it is changed until the host ends, and the one that was in force is printed, so that it can be put
/// back.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise log-filter
  mortise log-filter debug
  mortise log-filter 'info,[call{plugin=order}]=debug'")]
pub(in crate::cli) struct LogFilterArgs {
    /// A level, or levels by target, as in `log.filter`.
    #[arg(value_name = "FILTER")]
    filter: Option<String>,

    #[command(flatten)]
    host: HostArgs,
}

pub(in crate::cli) fn run(args: LogFilterArgs) -> anyhow::Result<()> {
    let filter = args.host.with(async |mut client| match args.filter {
        None => Ok(client
            .get_log_filter(GetLogFilterRequest {})
            .await?
            .into_inner()
            .filter),
        Some(filter) => {
            let answer = client.set_log_filter(SetLogFilterRequest { filter }).await?;
            Ok(answer.into_inner().previous)
        }
    })?;
    print(&format!("{}\n", printable(&filter)))
}
