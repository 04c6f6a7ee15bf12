//! `mortise explain`: every page is there, whole, and found by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use mortise::auth;
use mortise::capability::upstream::Refusal;
use mortise::status::{Failure, REASONS};

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

/// Numbers that pages write as N and M.
const N: usize = 1111;
const M: usize = 2222;

/// One failure for each message that there is, with the pages' names for what varies in it.
fn one_of_each_message() -> Vec<Failure> {
    let word = str::to_owned;
    let cause = || word("not for clients");
    let target = || word("NAME");
    let retry_after = Duration::ZERO;
    vec![
        Failure::MalformedTimeout,
        Failure::MalformedBinaryMetadata { key: word("KEY") },
        Failure::TooMuchMetadata { limit: N },
        Failure::MetadataTooLarge { size: N, limit: M },
        Failure::UnknownMethod {
            path: word("/package.Service/Method"),
        },
        Failure::UnknownService,
        Failure::MalformedMessage,
        Failure::ShuttingDown,
        Failure::Auth(auth::Refusal::TokenMissing),
        Failure::Auth(auth::Refusal::TokenInvalid {
            cause: "not for clients",
        }),
        Failure::Auth(auth::Refusal::TokenExpired),
        Failure::Auth(auth::Refusal::TokenNotYetValid),
        Failure::Auth(auth::Refusal::ScopeMissing { scope: word("SCOPE") }),
        Failure::RequestTooLarge {
            size: Some(N),
            limit: M,
        },
        Failure::RequestTooLarge { size: None, limit: M },
        Failure::RequestTimeout {
            limit: Duration::from_millis(N as u64),
        },
        Failure::RequestMemoryFull,
        Failure::ResponseMemoryFull,
        Failure::NotUnary { empty: true },
        Failure::NotUnary { empty: false },
        Failure::MalformedFraming { what: "WHAT" },
        Failure::UnsupportedEncoding {
            encoding: target(),
            supported: word("LIST"),
        },
        Failure::DeadlineExceeded,
        Failure::Cancelled,
        Failure::Overloaded { retry_after },
        Failure::RateLimited { retry_after },
        Failure::PluginFailed { cause: cause() },
        Failure::PluginOutOfMemory {
            limit: N,
            cause: cause(),
        },
        Failure::AnswerTooLarge { size: N, limit: M },
        Failure::MalformedIdempotencyKey { what: "WHAT" },
        Failure::IdempotencyKeyReused,
        Failure::IdempotencyKeyInUse { retry_after },
        Failure::Conflict { attempts: 1 },
        Failure::StoreUnavailable { cause: cause() },
        Failure::CommitUnknown { cause: cause() },
        Failure::Upstream(Refusal::NotGranted { target: target() }),
        Failure::Upstream(Refusal::MethodNotAllowed {
            target: target(),
            method: word("METHOD"),
        }),
        Failure::Upstream(Refusal::Invalid { what: word("WHAT") }),
        Failure::Upstream(Refusal::RequestTooLarge {
            target: target(),
            size: N,
            limit: M,
        }),
        Failure::Upstream(Refusal::ReplyTooLarge {
            target: target(),
            limit: M,
        }),
        Failure::Upstream(Refusal::TooManyCalls { limit: N as u32 }),
        Failure::Upstream(Refusal::TooManyBytes { limit: N as u64 }),
        Failure::Upstream(Refusal::Overloaded { target: target() }),
        Failure::Upstream(Refusal::CircuitOpen {
            target: target(),
            retry_after,
        }),
        Failure::Upstream(Refusal::Unreachable { target: target() }),
        Failure::Upstream(Refusal::TimedOut { target: target() }),
        Failure::Upstream(Refusal::Malformed { target: target() }),
        Failure::Upstream(Refusal::Diverged),
        Failure::Internal { cause: cause() },
    ]
}

#[test]
fn every_page_has_the_messages_that_clients_read() {
    let mut messages: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for failure in one_of_each_message() {
        let row = failure.row();
        let message = row
            .message
            .replace(&N.to_string(), "N")
            .replace(&M.to_string(), "M");
        messages.entry(row.reason).or_default().insert(message);
    }
    for reason in REASONS {
        let page = mortise(["explain", reason]).exits(0).stdout;
        let (_, rest) = page.split_once("\n- Message: ").expect("it has the line");
        let (line, _) = rest.split_once("\n- Blame: ").expect("it comes next");
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let alternatives = line.split("; or: ").map(str::to_owned).collect();
        assert_eq!(messages[reason], alternatives, "{reason}");
    }
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
