//! gRPC over HTTP/2 where stock clients do not go.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use http::{Method, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::in_both_modes;
use crate::support::pb::faults::*;
use crate::support::raw::framed;
use crate::support::{Isolation, Plugin, Setup, http1, within_patience};

in_both_modes!(
    unary_means_one_message,
    broken_framing_is_refused,
    what_is_not_grpc_gets_an_http_answer,
    unknown_methods_are_unimplemented,
    refusals_cut_off_no_request,
    answers_have_the_frames_they_should,
    grpc_needs_http_2,
    headers_over_the_limit_are_refused,
    reasons_can_be_left_out,
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
    // Flag 1 needs an encoding: none is named, or identity.
    let mut flagged = BytesMut::from(&message[..]);
    flagged[0] = 1;
    for headers in [&[][..], &[("grpc-encoding", "identity")]] {
        let answer = raw.call(ECHO, headers, flagged.clone()).await;
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::Internal, "MALFORMED_FRAMING"),
            "{headers:?}"
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
        "application/grpc-web+json",
        "application/grpc-webx",
        "application/grpc+json",
        "application/grpc+protox",
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
        "application/grpc+proto ;x=y",
    ] {
        let answer = raw
            .call(ECHO, &[("content-type", content_type)], message.clone())
            .await;
        answer.message::<EchoResponse>();
    }
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        for content_type in ["application/grpc", "application/grpc-web"] {
            let request = Request::builder()
                .method(&method)
                .uri(format!("http://{}{ECHO}", host.address))
                .header("content-type", content_type)
                .body(UnsyncBoxBody::new(Empty::new().map_err(|never| match never {})));
            let answer = raw.send(request.expect("a valid request")).await;
            assert_eq!(answer.http, StatusCode::METHOD_NOT_ALLOWED, "{method}");
            assert_eq!(answer.headers["allow"], "POST");
        }
    }
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

/// Clients built on hyper report that their request was cut off, instead of the answer.
async fn refusals_cut_off_no_request(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let stream = TcpStream::connect(host.address).await.expect("the host listens");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let head = || {
        Request::post(format!("http://{}/faults.v1.Other/Echo", host.address))
            .header("content-type", "application/grpc")
            .body(())
            .expect("a request")
    };
    let (answer, mut body) = client.send_request(head(), false).expect("a stream");
    assert_eq!(answer.await.expect("an answer").headers()["grpc-status"], "12");
    // What the host had to say of the first stream comes before this.
    let (answer, _) = client.send_request(head(), true).expect("a stream");
    answer.await.expect("an answer");
    let reset = std::future::poll_fn(|cx| body.poll_reset(cx)).now_or_never();
    assert!(reset.is_none(), "{reset:?}");
    let rest = framed(&EchoRequest::default());
    body.send_data(rest, true).expect("the stream is open");
    connection.abort();
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

async fn grpc_needs_http_2(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let send = async |method, content_type| {
        let headers = [("content-type", content_type)];
        http1::send(
            host.address,
            method,
            ECHO,
            &headers,
            framed(&EchoRequest::default()),
        )
        .await
        .http
    };
    for content_type in ["application/grpc", "application/grpc+proto"] {
        assert_eq!(
            send(Method::POST, content_type).await,
            StatusCode::HTTP_VERSION_NOT_SUPPORTED
        );
    }
    assert_eq!(
        send(Method::POST, "text/plain").await,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    assert_eq!(
        send(Method::GET, "application/grpc").await,
        StatusCode::METHOD_NOT_ALLOWED
    );
    // What is no HTTP at all is told so, and the connection ends.
    let mut stream = TcpStream::connect(host.address).await.expect("the host listens");
    stream.write_all(b"hello\r\n\r\n").await.expect("it is open");
    let mut answer = String::new();
    within_patience("the end of the connection", stream.read_to_string(&mut answer))
        .await
        .expect("text");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    host.stop().await;
}

async fn headers_over_the_limit_are_refused(isolation: Isolation) {
    let limit = "[server]\nmax_metadata_bytes = 8192";
    let host = Setup::of(Plugin::faults(isolation)).with(limit).start().await;
    let (raw, message) = (host.raw().await, framed(&EchoRequest::default()));
    let long = "x".repeat(9000);
    let answer = raw.call(ECHO, &[("long", &long)], message.clone()).await;
    assert_eq!(
        (answer.code(), answer.reason().as_str()),
        (Code::ResourceExhausted, "METADATA_TOO_LARGE")
    );
    assert!(answer.trailers.is_none(), "Trailers-Only");
    let mut request = tonic::Request::new(EchoRequest::default());
    request
        .metadata_mut()
        .insert("long", long.parse().expect("ASCII"));
    let status = host.faults().echo(request).await.expect_err("refused");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    // Entries count by more than their length: these by 34 bytes each.
    let many: Vec<_> = (0..240).map(|_| ("k", "v")).collect();
    let answer = raw.call(ECHO, &many, message.clone()).await;
    assert_eq!(answer.reason(), "METADATA_TOO_LARGE");
    let web = [("content-type", "application/grpc-web"), ("long", &long)];
    let answer = http1::send(host.address, Method::POST, ECHO, &web, message.clone()).await;
    assert_eq!(answer.http, StatusCode::OK);
    assert_eq!(answer.headers["grpc-status"], "8");
    let answer = raw.call(ECHO, &web, message.clone()).await;
    assert_eq!(answer.reason(), "METADATA_TOO_LARGE");

    // HTTP answers before gRPC has read anything: 431 (RFC 9113, section 10.5.1), which gRPC clients read as
    // UNKNOWN.
    let longer = "x".repeat(2 * 8192);
    let answer = raw.call(ECHO, &[("long", &longer)], message.clone()).await;
    assert_eq!(answer.http, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let web = [("content-type", "application/grpc-web"), ("long", &longer)];
    let answer = http1::send(host.address, Method::POST, ECHO, &web, message.clone()).await;
    assert_eq!(answer.http, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    // The connection goes on.
    raw.call(ECHO, &[], message).await.message::<EchoResponse>();
    host.stop().await;
}

async fn reasons_can_be_left_out(isolation: Isolation) {
    let bare = "[server]\nerror_details = false";
    let host = Setup::of(Plugin::faults(isolation)).with(bare).start().await;
    let answer = host.raw().await.call(ECHO, &[], Bytes::new()).await;
    assert_eq!(answer.code(), Code::Unimplemented);
    assert!(!answer.headers.contains_key("grpc-status-details-bin"));
    assert!(!answer.status().message().is_empty());
    // A plugin's own details are its business.
    let status = host
        .faults()
        .fail(FailRequest {
            code: 5,
            reasons: vec!["GONE".into()],
            ..FailRequest::default()
        })
        .await
        .expect_err("as told");
    assert!(!status.details().is_empty());
    host.stop().await;
}
