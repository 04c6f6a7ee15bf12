//! `mortise explain`: every page is there, whole, and found by its name.

use std::collections::BTreeSet;
use std::path::Path;

use mortise::status::REASONS;

use crate::mortise;

/// The names under a heading of the list.
fn listed(heading: &str) -> Vec<String> {
    let list = mortise(["explain"]).exits(0).stdout;
    let (_, names) = list.split_once(heading).expect("the heading is there");
    let names = names.lines().skip(1).take_while(|line| !line.is_empty());
    names.map(|name| name.trim().to_owned()).collect()
}

#[test]
fn every_reason_has_its_page_and_every_page_its_parts() {
    assert_eq!(listed("Reasons of failed calls:"), REASONS);
    for reason in REASONS {
        let page = mortise(["explain", reason]).exits(0).stdout;
        assert!(page.starts_with(&format!("# {reason}\n")), "{page}");
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

/// The pages that are files: one for each reason, and one for the refusals of plugin files.
#[test]
fn no_page_is_left_of_a_reason_that_is_no_more() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors");
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let pages: BTreeSet<_> = files
        .map(|file| {
            let name = file.expect("it can be read").file_name();
            let name = name.to_str().expect("UTF-8");
            name.strip_suffix(".md").expect("a page").to_owned()
        })
        .collect();
    let known = REASONS.iter().chain(&["loading"]).map(|name| (*name).to_owned());
    assert_eq!(pages, known.collect());
}

#[test]
fn every_refusal_has_a_section_of_its_own() {
    let kinds = listed("Refusals of plugin files:");
    for kind in ["unreadable", "not-wasm", "config", "streaming", "service-taken"] {
        assert!(kinds.contains(&kind.to_owned()), "{kind} is not in {kinds:?}");
    }
    for kind in kinds {
        let section = mortise(["explain", &kind]).exits(0).stdout;
        assert!(section.starts_with(&format!("## {kind}\n\n")), "{section}");
        assert_eq!(section.matches("## ").count(), 1, "{section}");
        assert!(section.ends_with(".\n"), "{section}");
    }
}

#[test]
fn names_are_found_in_any_case() {
    let page = mortise(["explain", "plugin_failed"]).exits(0).stdout;
    assert!(page.starts_with("# PLUGIN_FAILED\n"), "{page}");
}

#[test]
fn a_name_that_is_not_known_is_a_usage_error_with_a_suggestion() {
    let outcome = mortise(["explain", "PLUGIN_FAILD"]).exits(2);
    assert_eq!(outcome.stdout, "");
    assert_eq!(
        outcome.stderr,
        "error: there is no page \"PLUGIN_FAILD\"\nhint: did you mean PLUGIN_FAILED?\n"
    );
    let outcome = mortise(["explain", "?"]).exits(2);
    assert!(
        outcome
            .stderr
            .ends_with("hint: `mortise explain` lists all pages\n"),
        "{}",
        outcome.stderr
    );
}
