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
    print(page.hint(suggestion(&name))?)
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
    "UNKNOWN_METHOD"
    "REQUEST_TOO_LARGE"
    "NOT_UNARY"
    "MALFORMED_FRAMING"
    "UNSUPPORTED_ENCODING"
    "DEADLINE_EXCEEDED"
    "CANCELLED"
    "OVERLOADED"
    "PLUGIN_FAILED"
    "PLUGIN_OUT_OF_MEMORY"
    "ANSWER_TOO_LARGE"
    "INVALID_ANSWER"
    "CONFLICT"
    "STORE_UNAVAILABLE"
    "STORE_FAILED"
    "COMMIT_UNKNOWN"
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

/// `text` begins with a heading; the section ends where the next one begins.
fn section(text: &'static str) -> (&'static str, &'static str) {
    let end = text.find("\n## ").unwrap_or(text.len() - 1);
    let kind = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches('#')
        .trim();
    (kind, &text[..=end])
}

fn pages() -> impl Iterator<Item = (&'static str, &'static str)> {
    REASON_PAGES.iter().copied().chain(refusals())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::REASONS;

    #[test]
    fn every_reason_has_its_page_and_every_page_its_parts() {
        let reasons: Vec<_> = REASON_PAGES.iter().map(|(reason, _)| *reason).collect();
        assert_eq!(reasons, REASONS);
        for (reason, page) in REASON_PAGES {
            assert!(page.starts_with(&format!("# {reason}\n")), "{reason}");
            for part in [
                "\n- Status: `",
                "\n- Message: ",
                "\n- Blame: ",
                "\n- Kept: ",
                "\n- Log: ",
                "\n## What happened\n",
                "\n## What the client can do\n",
                "\n## What the operator can do\n",
                "\n## See also\n",
            ] {
                assert_eq!(page.matches(part).count(), 1, "{reason}: {part:?}");
            }
        }
    }

    #[test]
    fn the_page_on_loading_falls_into_sections() {
        assert!(refusals().count() > 15);
        for (kind, section) in refusals() {
            assert!(section.starts_with(&format!("## {kind}\n\n")), "{kind}");
            assert_eq!(section.matches("## ").count(), 1, "{kind}");
            assert!(section.ends_with('\n'), "{kind}");
            assert!(kind.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{kind}");
        }
        let names: std::collections::BTreeSet<_> = pages().map(|(name, _)| name.to_lowercase()).collect();
        assert_eq!(names.len(), pages().count(), "every name is one page's");
    }

    #[test]
    fn names_are_found_in_any_case_and_mistakes_get_a_suggestion() {
        assert!(page("plugin_failed").is_some_and(|page| page.starts_with("# PLUGIN_FAILED\n")));
        assert!(page("not-wasm").is_some_and(|page| page.starts_with("## not-wasm\n")));
        assert_eq!(page("nothing"), None);
        assert_eq!(suggestion("PLUGIN_FAILD"), "did you mean PLUGIN_FAILED?");
        assert_eq!(suggestion("?"), "`mortise explain` lists all pages");
    }
}
