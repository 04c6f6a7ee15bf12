//! Targets that break the protocol, from frame to refusal.

use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, Response};
use tokio::net::TcpListener;
use tonic::Code;

use super::*;
use crate::deadline::Deadline;

/// What the target does with a request.
type Script = fn(SendResponse<Bytes>) -> Result<(), h2::Error>;

/// Calls a target that follows `script` on every stream of one connection.
async fn call(script: Script) -> Result<Reply, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        while let Some(Ok((_request, respond))) = connection.accept().await {
            script(respond).expect("the script is HTTP/2");
        }
    });
    let options = TargetOptions {
        url: format!("http://{address}").parse().expect("a URL"),
        ca_file: None,
        methods: Vec::new(),
        forward_metadata: Vec::new(),
        max_concurrent: 1,
        max_queued: 0,
        connect_timeout: Duration::from_secs(60),
        timeout: Some(Duration::from_secs(60)),
        retries: 0,
        breaker_failures: 0,
        breaker_open: Duration::from_secs(1),
        max_request_bytes: 100,
        max_response_bytes: 10,
    };
    let targets = Upstreams::new([Target::new("stock", options).expect("no TLS")]);
    let granted = targets.grant("shop", ["stock"], 10, 1000);
    let request = Request {
        target: "stock".into(),
        method: "/stock.v1.Stock/Reserve".into(),
        message: Bytes::from_static(b"x"),
        metadata: Metadata::new(),
        timeout: None,
    };
    let caller = Caller {
        call_id: "id",
        deadline: &Deadline::after(tokio::time::Instant::now(), None),
        metadata: &RequestMetadata::default(),
        trace: None,
        journal: &Journal::default(),
    };
    let outcome = granted.call(request, caller, &mut Usage::default()).await;
    serving.abort();
    outcome
}

fn headers(entries: &[(&'static str, &'static str)]) -> HeaderMap {
    let entries = entries.iter();
    entries
        .map(|(key, value)| (HeaderName::from_static(key), value.parse().expect("a value")))
        .collect()
}

fn head(status: u16, entries: &[(&'static str, &'static str)]) -> Response<()> {
    let mut head = Response::builder().status(status).body(()).expect("a status");
    *head.headers_mut() = headers(entries);
    head
}

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");

/// Headers, data, trailers; none of the latter ends the stream with the data.
fn answer(
    mut respond: SendResponse<Bytes>,
    initial: &[(&'static str, &'static str)],
    data: &'static [u8],
    trailing: Option<&[(&'static str, &'static str)]>,
) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(head(200, initial), false)?;
    stream.send_data(Bytes::from_static(data), trailing.is_none())?;
    match trailing {
        Some(trailing) => stream.send_trailers(headers(trailing)),
        None => Ok(()),
    }
}

fn refused(outcome: Result<Reply, Failed>) -> Refusal {
    match outcome {
        Err(Failed::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn answered(outcome: Result<Reply, Failed>) -> Answered {
    match outcome {
        Err(Failed::Answered(answered)) => *answered,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_whole_answer_is_taken_apart() {
    let reply = call(|respond| {
        let initial = [GRPC, ("flavour", "sweet"), ("date", "today")];
        let trailing = [("grpc-status", "0"), ("took", "3"), ("grpc-anything", "hidden")];
        answer(respond, &initial, b"\0\0\0\0\x02ab", Some(&trailing))
    });
    let reply = reply.await.expect("an answer");
    assert_eq!(reply.message, "ab");
    assert_eq!(reply.initial, [("flavour".to_owned(), b"sweet".to_vec())]);
    assert_eq!(reply.trailing, [("took".to_owned(), b"3".to_vec())]);
}

#[tokio::test]
async fn a_failure_keeps_both_kinds_of_metadata() {
    let failure = answered(
        call(|respond| {
            let trailing = [("grpc-status", "9"), ("grpc-message", "not%20yet"), ("b", "2")];
            answer(respond, &[GRPC, ("a", "1")], b"", Some(&trailing))
        })
        .await,
    );
    assert_eq!(
        (failure.code, failure.message.as_str()),
        (Code::FailedPrecondition, "not yet")
    );
    assert_eq!(failure.initial, [("a".to_owned(), b"1".to_vec())]);
    assert_eq!(failure.trailing, [("b".to_owned(), b"2".to_vec())]);

    let trailers_only = answered(
        call(|mut respond| {
            let headers = [
                GRPC,
                ("grpc-status", "5"),
                ("grpc-status-details-bin", "!!!"),
                ("c", "3"),
            ];
            respond.send_response(head(200, &headers), true).map(drop)
        })
        .await,
    );
    assert_eq!(
        (trailers_only.code, trailers_only.details.len()),
        (Code::NotFound, 0)
    );
    assert_eq!(trailers_only.trailing, [("c".to_owned(), b"3".to_vec())]);
}

#[tokio::test]
async fn http_statuses_become_those_of_grpc() {
    let failure = answered(
        call(|mut respond| {
            let headers = [("content-type", "text/html")];
            respond.send_response(head(503, &headers), true).map(drop)
        })
        .await,
    );
    assert_eq!(
        (failure.code, failure.message.as_str()),
        (Code::Unavailable, "HTTP status 503")
    );
}

#[tokio::test]
async fn what_is_no_grpc_is_malformed() {
    const OK: [(&str, &str); 1] = [("grpc-status", "0")];
    let scripts: [(&str, Script); 10] = [
        ("another content type", |respond| {
            answer(respond, &[("content-type", "text/html")], b"<html>", None)
        }),
        ("no status", |respond| {
            answer(respond, &[GRPC], b"\0\0\0\0\0", None)
        }),
        ("no message", |respond| answer(respond, &[GRPC], b"", Some(&OK))),
        ("OK, and nothing else", |mut respond| {
            let headers = [GRPC, ("grpc-status", "0")];
            respond.send_response(head(200, &headers), true).map(drop)
        }),
        ("two messages", |respond| {
            answer(respond, &[GRPC], b"\0\0\0\0\x01a\0\0\0\0\x01b", Some(&OK))
        }),
        ("half a message", |respond| {
            answer(respond, &[GRPC], b"\0\0\0\0\x02a", Some(&OK))
        }),
        ("half a length", |respond| {
            answer(respond, &[GRPC], b"\0\0\0", Some(&OK))
        }),
        ("a compressed message", |respond| {
            answer(
                respond,
                &[GRPC, ("grpc-encoding", "gzip")],
                b"\x01\0\0\0\x01a",
                Some(&OK),
            )
        }),
        ("binary metadata that is not", |respond| {
            answer(respond, &[GRPC, ("a-bin", "!")], b"\0\0\0\0\0", Some(&OK))
        }),
        ("a reset", |mut respond| {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            Ok(())
        }),
    ];
    for (what, script) in scripts {
        let refusal = refused(call(script).await);
        assert!(
            matches!(refusal, Refusal::Malformed { .. }),
            "{what}: {refusal:?}"
        );
    }
}

#[tokio::test]
async fn a_long_answer_is_refused_by_its_announced_length() {
    let announced: Script =
        |respond| answer(respond, &[GRPC], b"\0\0\0\0\x0b", Some(&[("grpc-status", "0")]));
    let unannounced: Script = |respond| answer(respond, &[GRPC], b"\0\0\0\0\x0a0123456789+", None);
    for script in [announced, unannounced] {
        let refusal = refused(call(script).await);
        assert!(
            matches!(refusal, Refusal::ReplyTooLarge { limit: 10, .. }),
            "{refusal:?}"
        );
    }
    let fits: Script = |respond| {
        answer(
            respond,
            &[GRPC],
            b"\0\0\0\0\x0a0123456789",
            Some(&[("grpc-status", "0")]),
        )
    };
    assert_eq!(call(fits).await.expect("an answer").message, "0123456789");
}

#[tokio::test]
async fn a_stream_refused_unread_did_not_reach_the_target() {
    let refusal = refused(
        call(|mut respond| {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            Ok(())
        })
        .await,
    );
    assert!(matches!(refusal, Refusal::Unreachable { .. }), "{refusal:?}");
}
