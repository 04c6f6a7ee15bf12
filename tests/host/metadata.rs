//! Metadata in both directions.

use tonic::Code;

use crate::in_both_modes;
use crate::support::pb::faults::*;
use crate::support::{Isolation, Plugin, Setup};

in_both_modes!(
    requests_arrive_whole,
    malformed_metadata_is_refused,
    answers_keep_initial_and_trailing_apart,
    reserved_and_oversize_entries_are_refused_to_the_guest,
    answers_are_bounded_in_number,
    failures_keep_initial_and_trailing_apart,
    messages_are_percent_encoded,
);

const ECHO: &str = "/faults.v1.Faults/Echo";
const SET: &str = "/faults.v1.Faults/SetMetadata";

fn entry(key: &str, value: &[u8]) -> Entry {
    Entry {
        key: key.into(),
        value: value.to_vec(),
    }
}

async fn requests_arrive_whole(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let headers = [
        ("user-id", "first"),
        ("other", "between"),
        ("user-id", "second"),
        ("user-id", ""),
        // Padded, not padded, and two values in one header.
        ("token-bin", "aGk="),
        ("token-bin", "AP8"),
        ("token-bin", "eW8,eWE="),
        ("user-agent", "raw/1"),
        ("grpc-timeout", "60S"),
        ("grpc-encoding", "identity"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    let answer = host
        .raw()
        .await
        .unary(ECHO, &headers, &EchoRequest::default())
        .await;
    let seen = answer.message::<EchoResponse>();
    let values = |key: &str| -> Vec<Vec<u8>> {
        let entries = seen.metadata.iter().filter(|entry| entry.key == key);
        entries.map(|entry| entry.value.clone()).collect()
    };
    assert_eq!(values("user-id"), [&b"first"[..], b"second", b""]);
    assert_eq!(values("other"), [b"between"]);
    assert_eq!(values("token-bin"), [&b"hi"[..], b"\x00\xff", b"yo", b"ya"]);
    assert_eq!(values("user-agent"), [b"raw/1"]);
    for hidden in ["te", "content-type", "grpc-timeout", "grpc-encoding"] {
        assert!(values(hidden).is_empty(), "{hidden}");
    }
    assert!(seen.metadata.iter().all(|entry| !entry.key.starts_with(':')));
    // The host's own span is the parent of what the plugin does.
    let (client, parent) = (headers[10].1, seen.traceparent.as_str());
    assert_eq!((&parent[..36], &parent[52..]), (&client[..36], &client[52..]));
    assert_ne!(parent, client);
    assert_eq!(seen.peer.split(':').next(), Some("127.0.0.1"));
    assert_eq!((seen.attempt, seen.principal), (1, None));
    assert!(!seen.call_id.is_empty());
    host.stop().await;
}

async fn malformed_metadata_is_refused(isolation: Isolation) {
    let limit = "[server]\nmax_metadata_entries = 16";
    let host = Setup::of(Plugin::faults(isolation)).with(limit).start().await;
    let raw = host.raw().await;
    let answer = raw
        .unary(ECHO, &[("token-bin", "not base64!")], &EchoRequest::default())
        .await;
    assert_eq!(
        (answer.code(), answer.reason().as_str()),
        (Code::Internal, "MALFORMED_BINARY_METADATA")
    );
    let answer = raw.unary(ECHO, &[("a", "b"); 17], &EchoRequest::default()).await;
    assert_eq!(
        (answer.code(), answer.reason().as_str()),
        (Code::ResourceExhausted, "TOO_MUCH_METADATA")
    );
    host.stop().await;
}

async fn answers_keep_initial_and_trailing_apart(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let request = SetMetadataRequest {
        initial: vec![
            entry("a", b"1"),
            entry("a", b"2"),
            entry("both", b"i"),
            entry("i-bin", b"\0\xff\n"),
            entry("i-bin", b"hi"),
        ],
        trailing: vec![
            entry("b", b"3"),
            entry("both", b"t"),
            entry("b", b"4"),
            entry("t-bin", b""),
        ],
    };
    let answer = host.raw().await.unary(SET, &[], &request).await;
    assert!(
        answer
            .message::<SetMetadataResponse>()
            .errors
            .iter()
            .all(String::is_empty)
    );
    let trailers = answer.trailers.expect("trailers");
    let values = |map: &http::HeaderMap, key: &str| -> Vec<String> {
        map.get_all(key)
            .iter()
            .map(|value| value.to_str().expect("ASCII").to_owned())
            .collect()
    };
    assert_eq!(values(&answer.headers, "a"), ["1", "2"]);
    assert_eq!(values(&answer.headers, "both"), ["i"]);
    assert_eq!(values(&answer.headers, "i-bin"), ["AP8K", "aGk"], "not padded");
    assert_eq!(values(&trailers, "b"), ["3", "4"]);
    assert_eq!(values(&trailers, "both"), ["t"]);
    assert_eq!(values(&trailers, "t-bin"), [""]);
    assert!(!answer.headers.contains_key("b") && !trailers.contains_key("a"));
    // What one call has set is not on the next one's answer.
    let answer = host
        .raw()
        .await
        .unary(SET, &[], &SetMetadataRequest::default())
        .await;
    assert!(!answer.headers.contains_key("a") && !answer.trailers.expect("trailers").contains_key("b"));
    host.stop().await;
}

async fn reserved_and_oversize_entries_are_refused_to_the_guest(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let refused = [
        entry("grpc-status", b"0"),
        entry("grpc-message", b"forged"),
        entry("grpc-anything", b"x"),
        entry(":status", b"200"),
        entry("content-type", b"text/html"),
        entry("te", b"x"),
        entry("connection", b"close"),
        entry("content-length", b"1"),
        entry("sp ace", b"x"),
        entry("", b"x"),
        entry("line", b"a\r\nforged: b"),
        entry("text", "é".as_bytes()),
        entry("long", &[b'x'; 8192]),
    ];
    let request = SetMetadataRequest {
        initial: refused.to_vec(),
        trailing: refused.to_vec(),
    };
    let answer = host.raw().await.unary(SET, &[], &request).await;
    let errors = answer.message::<SetMetadataResponse>().errors;
    assert_eq!(errors.len(), 2 * refused.len());
    for (entry, error) in refused.iter().chain(&refused).zip(errors) {
        assert!(!error.is_empty(), "{:?} was taken", entry.key);
    }
    assert_eq!(answer.headers["content-type"], "application/grpc");
    let trailers = answer.trailers.as_ref().expect("trailers");
    // What there is, the host has set.
    assert_eq!(trailers.get_all("grpc-status").iter().collect::<Vec<_>>(), ["0"]);
    assert!(!answer.headers.contains_key("grpc-status"));
    for key in ["content-type", "content-length"] {
        assert!(!trailers.contains_key(key), "{key}");
    }
    for key in [
        "grpc-message",
        "grpc-anything",
        ":status",
        "te",
        "connection",
        "forged",
        "line",
        "text",
        "long",
    ] {
        assert!(!answer.headers.contains_key(key), "{key} in the headers");
        assert!(!trailers.contains_key(key), "{key} in the trailers");
    }
    host.stop().await;
}

async fn answers_are_bounded_in_number(isolation: Isolation) {
    const ENTRIES: usize = 16;
    let limit = format!("[server]\nmax_metadata_entries = {ENTRIES}");
    let host = Setup::of(Plugin::faults(isolation)).with(&limit).start().await;
    let many = |count: usize| vec![entry("many", b"x"); count];
    let request = SetMetadataRequest {
        initial: many(ENTRIES - 2),
        trailing: many(3),
    };
    let answer = host.raw().await.unary(SET, &[], &request).await;
    let errors = answer.message::<SetMetadataResponse>().errors;
    let taken = errors.iter().filter(|error| error.is_empty()).count();
    assert_eq!((taken, errors.len()), (ENTRIES, ENTRIES + 1));
    assert!(
        errors[ENTRIES].contains("over the limit of 16 entries"),
        "{errors:?}"
    );
    let count = |map: &http::HeaderMap| map.get_all("many").iter().count();
    assert_eq!(count(&answer.headers), ENTRIES - 2);
    assert_eq!(count(&answer.trailers.expect("trailers")), 2);
    host.stop().await;
}

/// Initial metadata needs a HEADERS frame of its own; without any, one frame carries everything.
async fn failures_keep_initial_and_trailing_apart(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    let fail = async |initial: Vec<Entry>| {
        let request = FailRequest {
            code: 5,
            message: "as told".into(),
            initial,
            trailing: vec![entry("t", b"1"), entry("t", b"2"), entry("t-bin", b"\xff")],
            ..FailRequest::default()
        };
        raw.unary("/faults.v1.Faults/Fail", &[], &request).await
    };
    let values = |map: &http::HeaderMap, key: &str| -> Vec<String> {
        let values = map.get_all(key).iter();
        values
            .map(|value| value.to_str().expect("ASCII").to_owned())
            .collect()
    };

    let answer = fail(vec![entry("i", b"1"), entry("i", b"2")]).await;
    let trailers = answer.trailers.as_ref().expect("HEADERS, then trailers");
    assert_eq!(values(&answer.headers, "i"), ["1", "2"]);
    assert!(!answer.headers.contains_key("grpc-status") && !answer.headers.contains_key("t"));
    assert_eq!(values(trailers, "t"), ["1", "2"]);
    assert_eq!(values(trailers, "t-bin"), ["/w"]);
    assert_eq!(values(trailers, "grpc-status"), ["5"]);
    assert!(!trailers.contains_key("i"));

    let answer = fail(vec![]).await;
    assert!(answer.trailers.is_none(), "Trailers-Only");
    assert_eq!(answer.headers["content-type"], "application/grpc");
    assert_eq!(values(&answer.headers, "t"), ["1", "2"]);
    assert_eq!(values(&answer.headers, "grpc-status"), ["5"]);
    for answer in [answer, fail(vec![entry("i", b"1")]).await] {
        assert!(answer.data.is_empty());
        assert_eq!(
            (answer.code(), answer.status().message()),
            (Code::NotFound, "as told")
        );
    }
    host.stop().await;
}

async fn messages_are_percent_encoded(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    let controls: String = ('\0'..=' ').chain(['\u{7f}', '\u{80}', '\u{9f}']).collect();
    for message in [
        "plain",
        "100% of %41 and %",
        "a\r\nb: c",
        controls.as_str(),
        "\u{e9}\u{20ac}\u{1f980}\u{10ffff}\u{feff}\u{202e}\u{fffd}",
        " spaces at both ends ",
    ] {
        let request = FailRequest {
            code: 9,
            message: message.into(),
            reasons: vec!["DETAIL".into()],
            ..FailRequest::default()
        };
        let answer = raw.unary("/faults.v1.Faults/Fail", &[], &request).await;
        let encoded = answer.headers["grpc-message"].to_str().expect("printable ASCII");
        let decoded: Vec<u8> = percent_encoding::percent_decode_str(encoded).collect();
        assert_eq!(decoded, message.as_bytes(), "{encoded}");
        // Both fields that carry it say the same.
        let details = answer.status();
        let details = <tonic_types::pb::Status as prost::Message>::decode(details.details());
        assert_eq!(details.expect("google.rpc.Status").message, message);
    }
    let request = FailRequest {
        code: 9,
        ..FailRequest::default()
    };
    let answer = raw.unary("/faults.v1.Faults/Fail", &[], &request).await;
    assert!(!answer.headers.contains_key("grpc-message"));
    host.stop().await;
}
