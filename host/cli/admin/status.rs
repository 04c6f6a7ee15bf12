//! `mortise status`: how a running host and its plugins are doing.

use std::fmt::Write as _;
use std::time::Duration;

use super::{HostArgs, json, moment, table};
use crate::admin::pb::{GetStatusRequest, GetStatusResponse, HostState};
use crate::cli::{print, printable};

/// Shows how a running host and its plugins are doing.
///
/// The host is the one with the data folder that --data or the configuration file names, by default
/// `mortise-data` in the current folder. Only the user that it runs as may ask.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise status
  mortise status --config /etc/mortise/mortise.toml
  mortise status --data /var/lib/mortise --json | jq .ready")]
pub(in crate::cli) struct StatusArgs {
    #[command(flatten)]
    host: HostArgs,

    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(args: StatusArgs) -> anyhow::Result<()> {
    let status = args.host.with(async |mut client| {
        let answer = client.get_status(GetStatusRequest {}).await?;
        Ok(answer.into_inner())
    })?;
    match args.json {
        true => print(&json("GetStatusResponse", &status)?),
        false => print(&page(&status)),
    }
}

fn page(status: &GetStatusResponse) -> String {
    let state = match status.state() {
        HostState::Starting => "starting",
        HostState::Serving => "serving",
        HostState::Draining => "draining",
        HostState::Unspecified => "unknown",
    };
    let ready = if status.ready { "ready" } else { "not ready" };
    let uptime = Duration::from_secs(
        status
            .uptime
            .and_then(|uptime| u64::try_from(uptime.seconds).ok())
            .unwrap_or_default(),
    );
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(page, "mortise  {}", printable(&status.version));
    let _ = writeln!(page, "state    {state}, {ready}");
    let _ = writeln!(
        page,
        "since    {} ({})",
        moment(status.started_at),
        humantime::format_duration(uptime)
    );
    let _ = writeln!(page, "listen   {}", printable(&status.address));
    if !status.store_failure.is_empty() {
        let _ = writeln!(page, "store    {}", printable(&status.store_failure));
    }
    let heading = [
        "PLUGIN",
        "GENERATION",
        "VERSION",
        "LIVE SINCE",
        "IN FLIGHT",
        "FILE",
    ];
    let mut rows = vec![heading.map(str::to_owned)];
    for plugin in &status.plugins {
        let live = plugin.live.as_ref();
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        rows.push([
            printable(&plugin.name),
            or_none(live.map(|live| live.number.to_string())),
            or_none(live.map(|live| printable(&live.version))),
            moment(live.and_then(|live| live.live_since)),
            plugin.calls_in_flight.to_string(),
            printable(&plugin.file),
        ]);
    }
    let _ = write!(page, "\n{}", table(&rows));
    for plugin in &status.plugins {
        if let Some(refusal) = &plugin.refusal {
            let _ = writeln!(
                page,
                "\nThe file of {} was refused at {}:\n  {}",
                printable(&plugin.name),
                moment(refusal.refused_at),
                printable(&refusal.reason)
            );
        }
    }
    page
}
