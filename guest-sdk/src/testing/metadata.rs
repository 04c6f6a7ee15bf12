//! The host's rules for metadata, as it is configured by default.

use super::refusal::{invalid, over_limit};
use crate::MetadataEntry;
use crate::bindings::mortise::plugin::types::Error;
use crate::metadata::is_binary;

/// Initial and trailing metadata together, as HTTP/2 counts it. Stock clients refuse more.
const MAX_BYTES: usize = 8 * 1024;
/// What HTTP/2 counts for an entry besides its key and value.
const ENTRY_OVERHEAD: usize = 32;
const MAX_ENTRIES: usize = 128;

/// Headers of the transport, which are no metadata, besides `grpc-…` and pseudo-headers.
const TRANSPORT_HEADERS: [&str; 16] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "host",
    "keep-alive",
    "proxy-connection",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Whether the host shows a request's entry to the plugin.
pub(super) fn is_readable(entry: &MetadataEntry) -> bool {
    let key = entry.key.as_str();
    let is_shown = match key {
        "user-agent" | "grpc-trace-bin" | "grpc-tags-bin" => true,
        key => !key.starts_with("grpc-") && !TRANSPORT_HEADERS.contains(&key),
    };
    is_shown && (is_binary(key) || is_text(&entry.value))
}

/// An entry that the plugin adds to `sent`, as it is sent: HTTP/2 has no spaces around a value.
pub(super) fn added<'m>(
    sent: impl Iterator<Item = &'m MetadataEntry>,
    key: &str,
    value: &[u8],
) -> Result<MetadataEntry, Error> {
    if key.starts_with(':') || key.starts_with("grpc-") || TRANSPORT_HEADERS.contains(&key) {
        return Err(invalid(format!(
            "metadata key {key:?} is reserved for the transport"
        )));
    }
    let in_key = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_' | b'-' | b'.');
    if key.is_empty() || !key.bytes().all(in_key) {
        let rule = "use lower-case letters, digits, '-', '_' and '.'";
        return Err(invalid(format!("metadata key {key:?} is not valid: {rule}")));
    }
    let value = if is_binary(key) {
        value
    } else if is_text(value) {
        value.trim_ascii()
    } else {
        let rule = "use a key that ends in -bin for bytes";
        return Err(invalid(format!(
            "the value of metadata key {key:?} is not printable ASCII: {rule}"
        )));
    };
    let mut entries = 1;
    let mut bytes = size(key, value);
    for entry in sent {
        entries += 1;
        bytes += size(&entry.key, &entry.value);
    }
    if entries > MAX_ENTRIES {
        return Err(over_limit(
            "the answer's metadata has too many entries",
            MAX_ENTRIES,
        ));
    }
    if bytes > MAX_BYTES {
        return Err(over_limit("the answer's metadata has too many bytes", MAX_BYTES));
    }
    Ok(MetadataEntry {
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

fn is_text(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, 0x20..=0x7e))
}

fn size(key: &str, value: &[u8]) -> usize {
    // Binary values travel as unpadded base64.
    let value = if is_binary(key) {
        (value.len() * 4).div_ceil(3)
    } else {
        value.len()
    };
    key.len() + value + ENTRY_OVERHEAD
}
