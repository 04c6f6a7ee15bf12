//! `mortise metrics`: what a running host counts.

use super::HostArgs;
use crate::admin::pb::GetMetricsRequest;
use crate::cli::print;

/// Prints what a running host counts, as OpenMetrics text.
///
/// Collectors read the same from `/metrics` of `[admin] listen`. docs/metrics.md says what each means.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise metrics
  mortise metrics --data /var/lib/mortise | grep mortise_traps")]
pub(in crate::cli) struct MetricsArgs {
    #[command(flatten)]
    host: HostArgs,
}

pub(in crate::cli) fn run(args: MetricsArgs) -> anyhow::Result<()> {
    let text = args.host.with(async |mut client| {
        let answer = client.get_metrics(GetMetricsRequest {}).await?;
        Ok(answer.into_inner().text)
    })?;
    print(&text)
}
