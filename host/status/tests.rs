use std::collections::{BTreeMap, BTreeSet};

use super::guest::encoded_bytes;
use super::*;

/// Numbers that pages write as N and M.
const N: usize = 1111;
const M: usize = 2222;

/// One failure for each message that there is, with the pages' names for what varies in it.
fn one_of_each() -> Vec<Failure> {
    let word = str::to_owned;
    let cause = || word("secret cause");
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
        Failure::Auth(auth::Refusal::TokenMissing),
        Failure::Auth(auth::Refusal::TokenInvalid {
            cause: "secret cause",
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
        Failure::MalformedMessage,
        Failure::UnsupportedEncoding {
            encoding: target(),
            supported: word("LIST"),
        },
        Failure::DeadlineExceeded,
        Failure::Cancelled,
        Failure::Overloaded { retry_after },
        Failure::ShuttingDown,
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

fn page(reason: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/errors/{reason}.md"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("no page {}: {error}", path.display()))
}

#[test]
fn the_table_is_complete_and_every_row_has_a_page() {
    let mut reasons: Vec<_> = one_of_each().iter().map(|failure| failure.row().reason).collect();
    reasons.dedup();
    assert_eq!(reasons, REASONS);
    for reason in REASONS {
        page(reason);
    }
}

#[test]
fn statuses_are_measured_as_they_are_sent() {
    let all: String = (0..=0x17f).filter_map(char::from_u32).collect();
    let mut headers = http::HeaderMap::new();
    let status = tonic::Status::unknown(all.as_str());
    status.add_header(&mut headers).expect("a header value");
    assert_eq!(encoded_bytes(&all), headers["grpc-message"].len());
}

#[test]
fn every_page_says_what_the_table_says() {
    for failure in one_of_each() {
        let row = failure.row();
        let page = page(row.reason);
        for line in [
            format!("# {}\n", row.reason),
            format!("\n- Status: `{}`\n", code_name(row.code)),
        ] {
            assert!(page.contains(&line), "{} lacks {line:?}", row.reason);
        }
    }
}

#[test]
fn every_page_has_each_message_that_clients_read_and_who_is_blamed() {
    type Alternatives<'r> = BTreeMap<&'r str, BTreeSet<String>>;
    let (mut messages, mut blames) = (Alternatives::new(), Alternatives::new());
    for failure in one_of_each() {
        let row = failure.row();
        let message = row
            .message
            .replace(&N.to_string(), "N")
            .replace(&M.to_string(), "M");
        messages.entry(row.reason).or_default().insert(message);
        let blame = row.blame.as_str().to_owned();
        blames.entry(row.reason).or_default().insert(blame);
    }
    for reason in REASONS {
        let page = page(reason);
        let alternatives = |name: &str| -> BTreeSet<String> {
            let start = format!("\n- {name}: ");
            let (_, rest) = page.split_once(&start).expect("it has the line");
            let (line, _) = rest.split_once("\n- ").expect("others follow");
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            line.split("; or: ").map(str::to_owned).collect()
        };
        assert_eq!(messages[reason], alternatives("Message"), "{reason}");
        assert_eq!(blames[reason], alternatives("Blame"), "{reason}");
    }
}

#[test]
fn the_guide_to_statuses_has_every_code_and_reason() {
    let guide = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/status.md");
    let guide = std::fs::read_to_string(guide).expect("a page");
    let line_of = |code: Code| {
        let start = format!("| `{}` ({}) |", code_name(code), code as i32);
        let line = guide.lines().find(|line| line.starts_with(&start));
        line.unwrap_or_else(|| panic!("no line for {start}"))
    };
    for number in 0..=16 {
        line_of(Code::from_i32(number));
    }
    for failure in one_of_each() {
        let row = failure.row();
        let link = format!("[{0}](errors/{0}.md)", row.reason);
        assert!(line_of(row.code).contains(&link), "{link} is missing");
    }
    let links = guide.matches("](errors/").count();
    assert_eq!(links, REASONS.len(), "a reason that is no more");
}

#[test]
fn causes_never_reach_the_client() {
    for failure in one_of_each() {
        let status = failure.to_status();
        assert!(!status.message().contains("secret"), "{failure:?}");
        assert!(
            !String::from_utf8_lossy(status.details()).contains("secret"),
            "{failure:?}"
        );
        assert_eq!(
            status.get_error_details().error_info().expect("info").reason,
            failure.row().reason
        );
    }
}
