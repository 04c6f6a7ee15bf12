//! Single entries and pages of them, each as one line of JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::key;
use crate::admin::pb::{GetEntryRequest, ScanEntriesRequest, StoreEntry};
use crate::cli::admin::HostArgs;
use crate::cli::exit::UsageError;
use crate::cli::print;

/// Prints one entry: its key, the commit that wrote it, and its value in base64.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct GetArgs {
    /// The operator's name of the plugin.
    plugin: String,

    /// The key: a JSON array of its elements, or 0x and its bytes.
    #[arg(value_name = "KEY")]
    key: String,

    #[command(flatten)]
    host: HostArgs,
}

/// Prints a page of entries in the order of their keys, one JSON object on each line.
///
/// When there may be more, the cursor to go on with is printed on standard error.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ScanArgs {
    /// The operator's name of the plugin.
    plugin: String,

    /// Only keys that begin with these elements, or with these bytes.
    #[arg(long, value_name = "KEY")]
    prefix: Option<String>,

    /// From the last key to the first.
    #[arg(long)]
    descending: bool,

    /// The most entries.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,

    /// Where an earlier page of the same scan stopped.
    #[arg(long, value_name = "HEX")]
    cursor: Option<String>,

    #[command(flatten)]
    host: HostArgs,
}

pub(super) fn get(args: GetArgs) -> anyhow::Result<()> {
    let request = GetEntryRequest {
        plugin: args.plugin,
        key: key::parse(&args.key).map_err(UsageError)?,
    };
    let answer = args
        .host
        .with_store(async |client| client.get_entry(request).await)?;
    let entry = answer.into_inner().entry.unwrap_or_default();
    print(&line(&entry))
}

pub(super) fn scan(args: ScanArgs) -> anyhow::Result<()> {
    let prefix = args
        .prefix
        .as_deref()
        .map(key::parse)
        .transpose()
        .map_err(UsageError)?;
    let prefix = prefix.unwrap_or_default();
    let cursor = args.cursor.map(|cursor| {
        let bytes = key::from_hex(&cursor);
        bytes.ok_or_else(|| UsageError(format!("{cursor:?} is no cursor of an earlier page")))
    });
    let request = ScanEntriesRequest {
        plugin: args.plugin,
        end: after_all(&prefix),
        start: prefix,
        cursor: cursor.transpose()?,
        descending: args.descending,
        limit: args.limit,
    };
    let answer = args
        .host
        .with_store(async |client| client.scan_entries(request).await)?;
    let page = answer.into_inner();
    print(&page.entries.iter().map(line).collect::<String>())?;
    if let Some(cursor) = page.cursor {
        eprintln!("more: --cursor {}", key::to_hex(&cursor));
    }
    Ok(())
}

/// The least key after all that begin with `prefix`; none if there is no such key.
fn after_all(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// An entry as a line of JSON. Keys are a plugin's choice: whatever a terminal might take for more than text
/// is escaped.
pub(super) fn line(entry: &StoreEntry) -> String {
    let entry = json!({
        "key": key::decode(&entry.key),
        "version": entry.version,
        "value": STANDARD.encode(&entry.value),
    });
    let mut line = String::new();
    for character in entry.to_string().chars() {
        match character {
            ' '..='~' => line.push(character),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    line.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    line + "\n"
}
