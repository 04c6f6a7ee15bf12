//! A plugin's entries as lines of JSON, out of the store and into it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use tonic::Status;

use super::{entries, key};
use crate::admin::pb::{ExportEntriesRequest, ImportEntriesRequest, StoreEntry};
use crate::cli::admin::HostArgs;
use crate::cli::print;

/// The longest line that is read.
const MAX_LINE_BYTES: u64 = 64 << 20;
/// Entries and bytes that are written in one transaction, well below what one call may do.
const MAX_BATCH_ENTRIES: usize = 500;
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Prints all entries of a plugin, from one state of the store, one JSON object on each line.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ExportArgs {
    /// The operator's name of the plugin.
    plugin: String,

    #[command(flatten)]
    host: HostArgs,
}

/// Writes entries to a plugin's part of the store, as `export` prints them.
///
/// They are written in transactions of up to 500 entries, over what is there. Other entries stay. The
/// plugin's bounds and quotas hold. When a line is refused, those before it may be written.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ImportArgs {
    /// The operator's name of the plugin.
    plugin: String,

    /// The file; standard input if there is none.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    host: HostArgs,
}

/// What counts of a line.
#[derive(Deserialize)]
struct Line {
    key: Value,
    value: String,
}

pub(super) fn export(args: ExportArgs) -> anyhow::Result<()> {
    let request = ExportEntriesRequest { plugin: args.plugin };
    args.host.with_store(async |client| {
        let mut pages = client.export_entries(request).await?.into_inner();
        while let Some(page) = pages.message().await? {
            let lines: String = page.entries.iter().map(entries::line).collect();
            print(&lines).map_err(|error| Status::internal(error.to_string()))?;
        }
        Ok(())
    })
}

pub(super) fn import(args: ImportArgs) -> anyhow::Result<()> {
    let mut input: Box<dyn BufRead> = match &args.file {
        Some(file) => {
            let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            Box::new(BufReader::new(opened))
        }
        None => Box::new(io::stdin().lock()),
    };
    let mut number = 0;
    let mut written = 0;
    let outcome = args.host.with_store(async |client| {
        loop {
            let entries = batch(&mut input, &mut number).map_err(Status::invalid_argument)?;
            let count = entries.len();
            if count == 0 {
                return Ok(());
            }
            let plugin = args.plugin.clone();
            client
                .import_entries(ImportEntriesRequest { plugin, entries })
                .await?;
            written += count;
        }
    });
    outcome.with_context(|| {
        format!("{written} entries were written; those up to line {number} are not sure to be")
    })?;
    print(&format!("{written} entries were written\n"))
}

/// The next entries; none at the end. `number` is the last line read.
fn batch(input: &mut impl BufRead, number: &mut usize) -> Result<Vec<StoreEntry>, String> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    while entries.len() < MAX_BATCH_ENTRIES && bytes < MAX_BATCH_BYTES {
        let mut line = Vec::new();
        let read = input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        if read.map_err(|error| format!("cannot read: {error}"))? == 0 {
            break;
        }
        *number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let entry = parse(&line).map_err(|problem| format!("line {number}: {problem}"))?;
        bytes += entry.key.len() + entry.value.len();
        entries.push(entry);
    }
    Ok(entries)
}

fn parse(line: &[u8]) -> Result<StoreEntry, String> {
    if line.len() as u64 == MAX_LINE_BYTES {
        return Err(format!("it has {MAX_LINE_BYTES} bytes or more"));
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let value = STANDARD.decode(line.value);
    Ok(StoreEntry {
        key: key::encode(&line.key)?,
        value: value.map_err(|error| format!("its value is not base64: {error}"))?,
        version: 0,
    })
}
