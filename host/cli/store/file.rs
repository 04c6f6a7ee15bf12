//! The store as a whole.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::admin::pb::{BackUpRequest, GetStoreStatsRequest, GetStoreStatsResponse};
use crate::capability::store;
use crate::cli::admin::{HostArgs, json, table};
use crate::cli::{Hint, print, printable};

/// Shows how much each plugin keeps.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StatsArgs {
    #[command(flatten)]
    host: HostArgs,

    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Copies the store of all plugins to a new file, from one state and while calls go on.
///
/// The file is a whole store. To restore it: stop the host, put the file in the place of `store/store.redb`
/// in the data folder, start the host.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct BackupArgs {
    /// The file to be made, on the machine of the host. It must not be there.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    host: HostArgs,
}

/// Reads the store from end to end and says whether it is whole. Only while no host uses it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    host: HostArgs,
}

/// Makes the file of the store as small as its content allows. Only while no host uses it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct CompactArgs {
    #[command(flatten)]
    host: HostArgs,
}

pub(super) fn stats(args: StatsArgs) -> anyhow::Result<()> {
    let request = GetStoreStatsRequest {};
    let answer = args
        .host
        .with_store(async |client| client.get_store_stats(request).await)?;
    match args.json {
        true => print(&json("GetStoreStatsResponse", answer.get_ref())?),
        false => print(&page(answer.get_ref())),
    }
}

fn page(stats: &GetStoreStatsResponse) -> String {
    let mut rows = vec![["PLUGIN", "KEYS", "BYTES", "ANSWERS", "ANSWER BYTES"].map(str::to_owned)];
    rows.extend(stats.plugins.iter().map(|plugin| {
        [
            printable(&plugin.plugin),
            plugin.keys.to_string(),
            plugin.bytes.to_string(),
            plugin.answers.to_string(),
            plugin.answer_bytes.to_string(),
        ]
    }));
    let file = stats
        .file_bytes
        .map_or("-".into(), |bytes| format!("{bytes} bytes"));
    format!(
        "file         {file}\ncommits      {}\nundelivered  {} events, {} bytes\n\n{}",
        stats.sequence,
        stats.undelivered_events,
        stats.undelivered_event_bytes,
        table(&rows)
    )
}

pub(super) fn backup(args: BackupArgs) -> anyhow::Result<()> {
    let file = std::path::absolute(&args.file).context("the path of the backup")?;
    let file = file.into_os_string().into_string();
    let file = file.map_err(|file| anyhow::anyhow!("{file:?} is not UTF-8: choose another name"))?;
    let request = BackUpRequest { file: file.clone() };
    let answer = args
        .host
        .with_store(async |client| client.back_up(request).await)?;
    print(&format!("{file}: {} bytes\n", answer.get_ref().file_bytes))
}

pub(super) fn verify(args: VerifyArgs) -> anyhow::Result<()> {
    let (folder, options) = args.host.store()?;
    let mismatches = store::verify(&folder, &options)?;
    if mismatches.is_empty() {
        return print("the store is whole\n");
    }
    let lines = mismatches.iter().map(|mismatch| {
        let store::Mismatch { what, kept, counted } = mismatch;
        format!("{what}: the store says {kept}, there are {counted}")
    });
    let lines: Vec<_> = lines.collect();
    let hint = "`mortise store export` what is there, and import it into a new store; or restore a backup";
    Err(Hint::new(
        anyhow::anyhow!("the store counts wrong: {}", lines.join("; ")),
        hint,
    )
    .into())
}

pub(super) fn compact(args: CompactArgs) -> anyhow::Result<()> {
    let (folder, options) = args.host.store()?;
    let (before, after) = store::compact(&folder, &options)?;
    print(&format!("{before} bytes before, {after} bytes after\n"))
}
