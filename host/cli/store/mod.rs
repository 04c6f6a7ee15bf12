//! `mortise store`: what operators do with the store, through the running host or on the file.

mod entries;
mod file;
mod key;
mod transfer;

/// Looks into the store of plugins, copies it, checks it.
///
/// Through the host that runs with the data folder, which --data or the configuration file names, by default
/// `mortise-data` in the current folder; where none runs, on the file itself. Only the user that the host
/// runs as may.
///
/// A key is written as a JSON array of its elements, `["orders", "ORD-1"]`: texts, whole numbers, true and
/// false, and {"bytes": "HEX"}; in a table the first is the table's name. Any other key is its bytes,
/// `0x0a1b`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise store stats
  mortise store get order '[\"orders\", \"ORD-1\"]'
  mortise store scan order --prefix '[\"orders\"]' --limit 10
  mortise store export order > order.jsonl
  mortise store import order order.jsonl
  mortise store backup /backups/store.redb
  mortise store verify")]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    Stats(file::StatsArgs),
    Get(entries::GetArgs),
    Scan(entries::ScanArgs),
    Export(transfer::ExportArgs),
    Import(transfer::ImportArgs),
    Backup(file::BackupArgs),
    Verify(file::VerifyArgs),
    Compact(file::CompactArgs),
}

pub(super) fn run(args: StoreArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Stats(args) => file::stats(args),
        Command::Get(args) => entries::get(args),
        Command::Scan(args) => entries::scan(args),
        Command::Export(args) => transfer::export(args),
        Command::Import(args) => transfer::import(args),
        Command::Backup(args) => file::backup(args),
        Command::Verify(args) => file::verify(args),
        Command::Compact(args) => file::compact(args),
    }
}
