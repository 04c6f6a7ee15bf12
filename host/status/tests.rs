use super::guest::encoded_bytes;
use super::*;

fn one_of_each() -> Vec<Failure> {
    let cause = || "secret cause".to_owned();
    let target = || "stock".to_owned();
    vec![
        Failure::MalformedTimeout,
        Failure::MalformedBinaryMetadata { key: "k-bin".into() },
        Failure::TooMuchMetadata { limit: 1 },
        Failure::MetadataTooLarge { size: 2, limit: 1 },
        Failure::UnknownMethod { path: "/a/b".into() },
        Failure::UnknownService,
        Failure::Auth(auth::Refusal::TokenMissing),
        Failure::Auth(auth::Refusal::TokenInvalid {
            cause: "secret cause",
        }),
        Failure::Auth(auth::Refusal::TokenExpired),
        Failure::Auth(auth::Refusal::TokenNotYetValid),
        Failure::Auth(auth::Refusal::ScopeMissing {
            scope: "orders.write".into(),
        }),
        Failure::RequestTooLarge {
            size: Some(2),
            limit: 1,
        },
        Failure::RequestTimeout {
            limit: std::time::Duration::from_secs(1),
        },
        Failure::RequestMemoryFull,
        Failure::ResponseMemoryFull,
        Failure::NotUnary { empty: true },
        Failure::MalformedFraming { what: "x" },
        Failure::MalformedMessage,
        Failure::UnsupportedEncoding {
            encoding: "br".into(),
            supported: "identity".into(),
        },
        Failure::DeadlineExceeded,
        Failure::Cancelled,
        Failure::Overloaded {
            retry_after: Duration::from_secs(1),
        },
        Failure::ShuttingDown,
        Failure::RateLimited {
            retry_after: Duration::from_secs(1),
        },
        Failure::PluginFailed { cause: cause() },
        Failure::PluginOutOfMemory {
            limit: 1,
            cause: cause(),
        },
        Failure::AnswerTooLarge { size: 2, limit: 1 },
        Failure::MalformedIdempotencyKey { what: "x" },
        Failure::IdempotencyKeyReused,
        Failure::IdempotencyKeyInUse {
            retry_after: Duration::from_secs(1),
        },
        Failure::Conflict { attempts: 5 },
        Failure::StoreUnavailable { cause: cause() },
        Failure::CommitUnknown { cause: cause() },
        Failure::Upstream(Refusal::NotGranted { target: target() }),
        Failure::Upstream(Refusal::Invalid { what: "x".into() }),
        Failure::Upstream(Refusal::TooManyCalls { limit: 1 }),
        Failure::Upstream(Refusal::Overloaded { target: target() }),
        Failure::Upstream(Refusal::CircuitOpen {
            target: target(),
            retry_after: std::time::Duration::from_secs(1),
        }),
        Failure::Upstream(Refusal::Unreachable { target: target() }),
        Failure::Upstream(Refusal::TimedOut { target: target() }),
        Failure::Upstream(Refusal::Malformed { target: target() }),
        Failure::Upstream(Refusal::Diverged),
        Failure::Internal { cause: cause() },
    ]
}

#[test]
fn the_table_is_complete_and_every_row_has_a_page() {
    let reasons: Vec<_> = one_of_each().iter().map(|failure| failure.row().reason).collect();
    assert_eq!(reasons, REASONS);
    for reason in REASONS {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/errors/{reason}.md"));
        assert!(page.is_file(), "no page {}", page.display());
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
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors");
    for failure in one_of_each() {
        let row = failure.row();
        let page = std::fs::read_to_string(folder.join(format!("{}.md", row.reason))).expect("a page");
        for line in [
            format!("# {}\n", row.reason),
            format!("\n- Status: `{}`\n", code_name(row.code)),
            format!("\n- Blame: {}\n", row.blame.as_str()),
        ] {
            assert!(page.contains(&line), "{} lacks {line:?}", row.reason);
        }
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
