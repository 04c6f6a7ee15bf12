//! gRPC over HTTP/2 where stock clients do not go.

use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use tonic::Code;

use crate::in_both_modes;
use crate::support::pb::faults::*;
use crate::support::raw::framed;
use crate::support::{Isolation, Plugin, Setup};

in_both_modes!(
    unary_means_one_message,
    broken_framing_is_refused,
    what_is_not_grpc_gets_an_http_answer,
    unknown_methods_are_unimplemented,
    answers_have_the_frames_they_should,
);

const ECHO: &str = "/faults.v1.Faults/Echo";

async fn unary_means_one_message(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    let message = framed(&EchoRequest {
        payload: b"once".to_vec(),
    });
    let twice = [message.clone(), message.clone()].concat();
    for body in [Bytes::new(), twice.into()] {
        let answer = raw.call(ECHO, &[], body.clone()).await;
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::Unimplemented, "NOT_UNARY"),
            "{body:?}"
        );
    }
    assert_eq!(
        raw.call(ECHO, &[], message)
            .await
            .message::<EchoResponse>()
            .payload,
        b"once"
    );
    host.stop().await;
}

async fn broken_framing_is_refused(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    let message = framed(&EchoRequest {
        payload: b"cut".to_vec(),
    });
    for cut in [1, 4, 5, message.len() - 1] {
        let answer = raw.call(ECHO, &[], message.slice(..cut)).await;
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::Internal, "MALFORMED_FRAMING"),
            "{cut}"
        );
    }
    for flag in [2, 255] {
        let mut flagged = BytesMut::from(&message[..]);
        flagged[0] = flag;
        let answer = raw.call(ECHO, &[], flagged).await;
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::Internal, "MALFORMED_FRAMING"),
            "{flag}"
        );
    }
    let answer = raw.call(ECHO, &[("grpc-encoding", "zpaq")], message).await;
    assert_eq!(
        (answer.code(), answer.reason().as_str()),
        (Code::Unimplemented, "UNSUPPORTED_ENCODING")
    );
    host.stop().await;
}

async fn what_is_not_grpc_gets_an_http_answer(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    let message = framed(&EchoRequest::default());
    for content_type in [
        "application/json",
        "application/grpc-web",
        "application/grpcx",
        "text/plain",
        "",
    ] {
        let answer = raw
            .call(ECHO, &[("content-type", content_type)], message.clone())
            .await;
        assert_eq!(
            answer.http,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{content_type:?}"
        );
    }
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc; charset=utf-8",
    ] {
        let answer = raw
            .call(ECHO, &[("content-type", content_type)], message.clone())
            .await;
        answer.message::<EchoResponse>();
    }
    let get = Request::builder()
        .method(Method::GET)
        .uri(format!("http://{}{ECHO}", host.address))
        .header("content-type", "application/grpc")
        .body(UnsyncBoxBody::new(Empty::new().map_err(|never| match never {})));
    let answer = raw.send(get.expect("a valid request")).await;
    assert_eq!(answer.http, StatusCode::METHOD_NOT_ALLOWED);
    host.stop().await;
}

async fn unknown_methods_are_unimplemented(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    for path in [
        "/faults.v1.Faults/Nothing",
        "/faults.v1.Other/Echo",
        "/faults.v1.Faults",
        "/faults.v1.Faults/Echo/",
        "//faults.v1.Faults/Echo",
        "/FAULTS.V1.FAULTS/ECHO",
        "/",
    ] {
        let answer = raw.unary(path, &[], &EchoRequest::default()).await;
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::Unimplemented, "UNKNOWN_METHOD"),
            "{path}"
        );
    }
    // Described by the plugin, and never written.
    let status = host
        .faults()
        .unwritten(UnwrittenRequest {})
        .await
        .expect_err("not written");
    assert_eq!(status.code(), Code::Unimplemented);
    host.stop().await;
}

async fn answers_have_the_frames_they_should(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    let fail = |initial: &[&str]| FailRequest {
        code: 5,
        message: "not there: 100 % \u{1f980}\n".into(),
        initial: initial
            .iter()
            .map(|key| Entry {
                key: (*key).into(),
                value: b"x".to_vec(),
            })
            .collect(),
        trailing: vec![Entry {
            key: "last".into(),
            value: b"y".to_vec(),
        }],
        ..FailRequest::default()
    };

    let answer = raw.unary("/faults.v1.Faults/Fail", &[], &fail(&[])).await;
    assert!(
        answer.trailers.is_none(),
        "a failure without initial metadata is one HEADERS frame"
    );
    assert_eq!(answer.headers["content-type"], "application/grpc");
    assert_eq!(answer.headers["grpc-status"], "5");
    assert_eq!(answer.headers["last"], "y");
    let encoded = answer.headers["grpc-message"].to_str().expect("ASCII");
    assert_eq!(
        encoded.matches('%').count(),
        encoded
            .match_indices('%')
            .filter(|(at, _)| {
                encoded
                    .get(at + 1..at + 3)
                    .is_some_and(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            })
            .count(),
        "{encoded}"
    );
    assert_eq!(answer.status().message(), "not there: 100 % \u{1f980}\n");

    let answer = raw.unary("/faults.v1.Faults/Fail", &[], &fail(&["first"])).await;
    let trailers = answer.trailers.as_ref().expect("initial metadata comes first");
    assert_eq!(answer.headers["first"], "x");
    assert!(!answer.headers.contains_key("grpc-status") && !trailers.contains_key("first"));
    assert_eq!(
        (&trailers["grpc-status"], &trailers["last"]),
        (&"5".parse().expect("value"), &"y".parse().expect("value"))
    );
    assert!(answer.data.is_empty());

    // Large answers leave in several frames and arrive whole.
    for bytes in [0u32, 1, 16 * 1024, 3 << 20] {
        let answer = raw
            .unary("/faults.v1.Faults/HugeAnswer", &[], &HugeAnswerRequest { bytes })
            .await;
        assert_eq!(
            answer.message::<HugeAnswerResponse>().payload.len(),
            bytes as usize
        );
        assert_eq!(answer.trailers.expect("trailers")["grpc-status"], "0");
    }
    // And requests in as many frames as the client likes.
    let mut body = BytesMut::new();
    body.put_slice(&framed(&EchoRequest {
        payload: vec![7; 1 << 20],
    }));
    let answer = raw.call(ECHO, &[], body.freeze()).await;
    assert_eq!(answer.message::<EchoResponse>().payload, vec![7; 1 << 20]);
    host.stop().await;
}
