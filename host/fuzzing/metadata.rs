//! Metadata: what a plugin sees of a request's, and what of its own goes on an answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Input, Target};
use crate::metadata::{AnswerMetadata, MetadataLimits, Part, RequestMetadata};

pub(super) const TARGET: Target = Target::new("metadata", run, seeds);

const MAX_ENTRIES: usize = 16;

/// Those of HTTP and gRPC that a plugin must neither see nor set.
const OF_THE_TRANSPORT: [&str; 8] = [
    "connection",
    "content-length",
    "content-type",
    "grpc-encoding",
    "grpc-status",
    "grpc-timeout",
    "te",
    "transfer-encoding",
];

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut entries = Vec::new();
    while !input.is_empty() {
        entries.push((input.bytes(), input.bytes()));
    }
    incoming(&entries);
    outgoing(&entries);
}

fn incoming(entries: &[(&[u8], &[u8])]) {
    let mut headers = HeaderMap::new();
    for (key, value) in entries {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(key), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let Ok(metadata) = RequestMetadata::new(headers.clone(), MAX_ENTRIES) else {
        return;
    };
    let metadata = metadata.withholding(Some(header::AUTHORIZATION));
    let shown = metadata.entries();
    assert!(shown.len() <= MAX_ENTRIES, "{} entries", shown.len());
    for (key, value) in &shown {
        assert!(
            !OF_THE_TRANSPORT.contains(&key.as_str()) && key != "authorization",
            "{key}"
        );
        assert_eq!(*key, key.to_ascii_lowercase());
        assert!(metadata.get_all(key).contains(value), "{key}");
        if !key.ends_with("-bin") {
            assert!(value.iter().all(|byte| (0x20..=0x7e).contains(byte)), "{value:?}");
            assert!(
                headers.get_all(key).iter().any(|sent| sent.as_bytes() == value),
                "{key}"
            );
        }
    }
    // However a plugin spells a key, it gets nothing that it is not shown.
    for (key, _) in entries {
        let Ok(key) = str::from_utf8(key) else { continue };
        let lower = key.to_ascii_lowercase();
        let values = shown.iter().filter(|(shown, _)| *shown == lower);
        let values: Vec<_> = values.map(|(_, value)| value.clone()).collect();
        assert_eq!(metadata.get_all(key), values, "{key:?}");
    }
}

fn outgoing(entries: &[(&[u8], &[u8])]) {
    let limits = MetadataLimits {
        max_bytes: 1024,
        max_entries: MAX_ENTRIES,
    };
    let mut answer = AnswerMetadata::default();
    for (key, value) in entries {
        let Ok(key) = str::from_utf8(key) else { continue };
        let part = if value.len() % 2 == 0 {
            Part::Initial
        } else {
            Part::Trailing
        };
        let before = (answer.initial.len(), answer.trailing.len(), answer.bytes());
        match answer.add(part, key, value, &limits) {
            Ok(()) => {
                let map = if part == Part::Initial {
                    &answer.initial
                } else {
                    &answer.trailing
                };
                let set = map.get_all(key).iter().next_back().expect("it was added");
                assert_is_metadata(key, set);
                assert_means(key, set, value);
            }
            Err(error) => {
                let after = (answer.initial.len(), answer.trailing.len(), answer.bytes());
                assert_eq!(before, after, "what is refused changes nothing: {error}");
                assert!(error.to_string().len() < 1024);
            }
        }
    }
    let all = answer.initial.iter().chain(&answer.trailing);
    let bytes: usize = all
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum();
    assert_eq!(answer.bytes(), bytes);
    assert!(bytes <= limits.max_bytes);
    assert!(answer.initial.len() + answer.trailing.len() <= limits.max_entries);
}

/// A key and value that every HTTP/2 peer takes (RFC 9113, sections 8.2 and 8.2.1), and none of the transport's.
fn assert_is_metadata(key: &str, value: &HeaderValue) {
    assert!(
        !key.starts_with("grpc-") && !OF_THE_TRANSPORT.contains(&key),
        "{key}"
    );
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    assert!(!key.is_empty() && key.bytes().all(valid), "{key:?}");
    let value = value.as_bytes();
    assert!(value.iter().all(|byte| (0x20..=0x7e).contains(byte)), "{value:?}");
    assert_eq!(
        value.trim_ascii(),
        value,
        "white space around a value is malformed"
    );
}

/// That the client reads what the plugin wrote.
fn assert_means(key: &str, set: &HeaderValue, value: &[u8]) {
    if key.ends_with("-bin") {
        assert_eq!(STANDARD_NO_PAD.decode(set).as_deref(), Ok(value), "{key}");
    } else {
        assert_eq!(set.as_bytes(), value.trim_ascii(), "{key}");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let lists: [&[(&str, &[u8])]; 6] = [
        &[
            ("user-id", b"u1"),
            ("user-id", b"u2"),
            ("user-agent", b"grpc-go/1"),
            ("te", b"trailers"),
        ],
        &[
            ("trace-bin", b"aGk"),
            ("trace-bin", b"aGk=,eW8="),
            ("x-bin", b"\x00\xff"),
        ],
        &[
            ("authorization", b"Bearer a.b.c"),
            ("Authorization", b"x"),
            ("grpc-timeout", b"5S"),
        ],
        &[
            ("Content-Type", b"application/grpc"),
            ("TE", b"trailers"),
            ("Grpc-Encoding", b"gzip"),
        ],
        &[
            ("a", b" a "),
            ("b.c_d-1", b""),
            (":path", b"/a.B/C"),
            ("näh", b"x"),
            ("k", b"a\nb"),
        ],
        &[("a-bin", b",,,,,,,,,,,,,,,,,,"), ("b-bin", b"!")],
    ];
    lists.iter().map(|list| encode(list)).collect()
}

fn encode(list: &[(&str, &[u8])]) -> Vec<u8> {
    let mut seed = Vec::new();
    for part in list.iter().flat_map(|(key, value)| [key.as_bytes(), value]) {
        seed.push(u8::try_from(part.len()).expect("it is short"));
        seed.extend_from_slice(part);
    }
    seed
}
