//! `mortise explain`: the pages of `docs/errors`, which the binary carries.

use std::fmt::Write;

use super::exit::UsageError;
use super::{WithHint, print};

/// Prints what a failure means and what to do about it.
///
/// NAME is the reason of a failed call, as it stands in the status's ErrorInfo and in the log, or the kind of
/// refusal of a plugin file. Without NAME all of them are listed.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise explain
  mortise explain PLUGIN_FAILED
  mortise explain not-wasm")]
pub(super) struct ExplainArgs {
    /// A reason such as DEADLINE_EXCEEDED, or a kind of refusal such as not-wasm.
    name: Option<String>,
}

pub(super) fn run(args: ExplainArgs) -> anyhow::Result<()> {
    let Some(name) = args.name else {
        return print(&list());
    };
    let page = page(&name).ok_or_else(|| UsageError(format!("there is no page {name:?}")));
    print(&format!("{}\n", page.hint(suggestion(&name))?))
}

/// `docs/errors/REASON.md` of each reason.
macro_rules! reasons {
    ($($reason:literal)*) => {
        &[$(($reason, include_str!(concat!("../../docs/errors/", $reason, ".md")))),*]
    };
}

/// In the order of [`REASONS`](crate::status::REASONS).
const REASON_PAGES: &[(&str, &str)] = reasons! {
    "MALFORMED_TIMEOUT"
    "MALFORMED_BINARY_METADATA"
    "TOO_MUCH_METADATA"
    "METADATA_TOO_LARGE"
    "UNKNOWN_METHOD"
    "UNKNOWN_SERVICE"
    "TOKEN_MISSING"
    "TOKEN_INVALID"
    "TOKEN_EXPIRED"
    "TOKEN_NOT_YET_VALID"
    "SCOPE_MISSING"
    "REQUEST_TOO_LARGE"
    "REQUEST_TIMEOUT"
    "REQUEST_MEMORY_FULL"
    "RESPONSE_MEMORY_FULL"
    "NOT_UNARY"
    "MALFORMED_FRAMING"
    "MALFORMED_MESSAGE"
    "UNSUPPORTED_ENCODING"
    "DEADLINE_EXCEEDED"
    "CANCELLED"
    "OVERLOADED"
    "SHUTTING_DOWN"
    "RATE_LIMITED"
    "PLUGIN_FAILED"
    "PLUGIN_OUT_OF_MEMORY"
    "ANSWER_TOO_LARGE"
    "MALFORMED_IDEMPOTENCY_KEY"
    "IDEMPOTENCY_KEY_REUSED"
    "IDEMPOTENCY_KEY_IN_USE"
    "CONFLICT"
    "STORE_UNAVAILABLE"
    "COMMIT_UNKNOWN"
    "UPSTREAM_NOT_ALLOWED"
    "UPSTREAM_INVALID_REQUEST"
    "UPSTREAM_LIMIT"
    "UPSTREAM_OVERLOADED"
    "UPSTREAM_CIRCUIT_OPEN"
    "UPSTREAM_UNREACHABLE"
    "UPSTREAM_TIMEOUT"
    "UPSTREAM_MALFORMED"
    "UPSTREAM_DIVERGED"
    "INTERNAL"
};

/// One section for each kind of refusal.
const LOADING: &str = include_str!("../../docs/errors/loading.md");

/// The kinds of refusal with their sections, heading included.
fn refusals() -> impl Iterator<Item = (&'static str, &'static str)> {
    LOADING
        .match_indices("\n## ")
        .map(|(start, _)| section(&LOADING[start + 1..]))
}

/// The section that `text` begins with, and its heading's words.
fn section(text: &'static str) -> (&'static str, &'static str) {
    let section = text.split("\n## ").next().unwrap_or_default();
    let kind = section.lines().next().unwrap_or_default();
    (kind.trim_start_matches("## "), section.trim_end())
}

fn pages() -> impl Iterator<Item = (&'static str, &'static str)> {
    let reasons = REASON_PAGES
        .iter()
        .map(|(reason, page)| (*reason, page.trim_end()));
    reasons.chain(refusals())
}

fn page(name: &str) -> Option<&'static str> {
    pages()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, page)| page)
}

fn list() -> String {
    let mut text = String::from("Reasons of failed calls:\n");
    for (reason, _) in REASON_PAGES {
        let _ = writeln!(text, "  {reason}");
    }
    text.push_str("\nRefusals of plugin files:\n");
    for (kind, _) in refusals() {
        let _ = writeln!(text, "  {kind}");
    }
    text
}

fn suggestion(name: &str) -> String {
    let likeness = |known: &str| strsim::jaro_winkler(&known.to_lowercase(), &name.to_lowercase());
    match pages()
        .map(|(known, _)| known)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
    {
        Some(known) if likeness(known) > 0.8 => format!("did you mean {known}?"),
        _ => "`mortise explain` lists all pages".to_owned(),
    }
}
