//! `mortise generations`: what a running host has loaded.

use super::{HostArgs, json, moment, table};
use crate::admin::pb::{Generation, GenerationState, ListGenerationsRequest};
use crate::cli::{print, printable};

/// Lists the generations of a running host: those that are loaded and the last few that were.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise generations
  mortise generations order --data /var/lib/mortise --json")]
pub(in crate::cli) struct GenerationsArgs {
    /// Lists those of one plugin. By default those of all are listed.
    #[arg(value_name = "NAME", default_value = "", hide_default_value = true)]
    plugin: String,

    #[command(flatten)]
    host: HostArgs,

    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(args: GenerationsArgs) -> anyhow::Result<()> {
    let plugin = args.plugin;
    let list = args.host.with(async |mut client| {
        let answer = client.list_generations(ListGenerationsRequest { plugin }).await?;
        Ok(answer.into_inner())
    })?;
    match args.json {
        true => print(&json("ListGenerationsResponse", &list)?),
        false => print(&page(&list.generations)),
    }
}

fn page(generations: &[Generation]) -> String {
    let heading = [
        "PLUGIN",
        "GENERATION",
        "STATE",
        "VERSION",
        "LIVE SINCE",
        "IN FLIGHT",
        "ENDED",
        "DIGEST",
    ];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(generations.iter().map(|generation| {
        let state = match generation.state() {
            GenerationState::Live => "live",
            GenerationState::Draining => "draining",
            GenerationState::Unloaded => "unloaded",
            GenerationState::Unspecified => "unknown",
        };
        [
            printable(&generation.plugin),
            generation.number.to_string(),
            state.to_owned(),
            printable(&generation.version),
            moment(generation.live_since),
            generation.calls_in_flight.to_string(),
            generation.calls_ended.to_string(),
            printable(&generation.digest),
        ]
    }));
    table(&rows)
}
