//! Health and reflection answer by the rules that hold for plugins' methods.

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1;

use crate::support::raw::{RawAnswer, RawClient, framed, framed_bytes};
use crate::support::{Host, Isolation, Plugin, Setup, reason};

pub(crate) const CHECK: &str = "/grpc.health.v1.Health/Check";
const LIST: &str = "/grpc.health.v1.Health/List";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
pub(crate) const REFLECT: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const REFLECT_V1ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// Those that take one message, and those that take any number.
const ONE: [&str; 3] = [CHECK, LIST, WATCH];
const MANY: [&str; 2] = [REFLECT, REFLECT_V1ALPHA];
pub(crate) const ALL: [&str; 5] = [CHECK, LIST, WATCH, REFLECT, REFLECT_V1ALPHA];

async fn host(sections: &str) -> Host {
    let faults = Plugin::faults(Isolation::Call);
    Setup::of(faults).with(sections).start().await
}

#[track_caller]
fn refused(answer: &RawAnswer, code: Code, reason: &str, what: &str) {
    let expected = (code, reason.to_owned());
    assert_eq!((answer.code(), answer.reason()), expected, "{what}: {answer:?}");
}

/// The question which services there are, for both versions of reflection.
fn which_services() -> Bytes {
    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    framed(&v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(list),
    })
}

/// The messages of an answer that is not compressed.
fn messages<M: Message + Default>(answer: &RawAnswer) -> Vec<M> {
    let (mut data, mut messages) = (answer.data.clone(), Vec::new());
    while !data.is_empty() {
        let length = u32::from_be_bytes(data[1..5].try_into().expect("four bytes")) as usize;
        let frame = data.split_to(5 + length);
        messages.push(M::decode(&frame[5..]).expect("a message"));
    }
    messages
}

#[tokio::test]
async fn they_take_one_message_where_they_take_one() {
    let host = host("").await;
    let raw = host.raw().await;
    let message = framed(&HealthCheckRequest::default());
    let twice = Bytes::from([&message[..], &message].concat());
    for path in ONE {
        for body in [Bytes::new(), twice.clone()] {
            let answer = raw.call(path, &[], body).await;
            refused(&answer, Code::Unimplemented, "NOT_UNARY", path);
            assert!(answer.trailers.is_none(), "Trailers-Only");
        }
    }
    for path in MANY {
        for questions in 0..3 {
            let answer = raw.call(path, &[], which_services().repeat(questions)).await;
            assert_eq!(answer.code(), Code::Ok, "{path}");
            let answers: Vec<v1::ServerReflectionResponse> = messages(&answer);
            assert_eq!(answers.len(), questions, "{path}");
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn broken_messages_are_told_apart() {
    let host = host("[server]\nmax_request_bytes = 1024").await;
    let raw = host.raw().await;
    let message = framed(&HealthCheckRequest {
        service: "faults.v1.Faults".into(),
    });
    for path in ALL {
        for cut in [1, 4, 5, message.len() - 1] {
            let answer = raw.call(path, &[], message.slice(..cut)).await;
            refused(&answer, Code::Internal, "MALFORMED_FRAMING", path);
        }
        for flag in [1, 2, 255] {
            let mut flagged = BytesMut::from(&message[..]);
            flagged[0] = flag;
            let answer = raw.call(path, &[], flagged).await;
            refused(&answer, Code::Internal, "MALFORMED_FRAMING", path);
        }
        for large in [
            framed_bytes(0, &[0; 1025]),
            Bytes::from_static(&[0, 255, 255, 255, 255]),
        ] {
            let answer = raw.call(path, &[], large).await;
            refused(&answer, Code::ResourceExhausted, "REQUEST_TOO_LARGE", path);
        }
        // A field without its number.
        let answer = raw.call(path, &[], framed_bytes(0, &[0x02, 0xff])).await;
        refused(&answer, Code::Internal, "MALFORMED_MESSAGE", path);
    }
    host.stop().await;
}

#[tokio::test]
async fn their_headers_have_limits() {
    let host = host("[server]\nmax_metadata_bytes = 8192\nmax_metadata_entries = 16").await;
    let (raw, long) = (host.raw().await, "x".repeat(9000));
    let message = framed(&HealthCheckRequest::default());
    for path in ALL {
        let answer = raw.call(path, &[("long", &long)], message.clone()).await;
        refused(&answer, Code::ResourceExhausted, "METADATA_TOO_LARGE", path);
        let answer = raw.call(path, &[("a", "b"); 17], message.clone()).await;
        refused(&answer, Code::ResourceExhausted, "TOO_MUCH_METADATA", path);
        let malformed = [("token-bin", "not base64!")];
        let answer = raw.call(path, &malformed, message.clone()).await;
        refused(&answer, Code::Internal, "MALFORMED_BINARY_METADATA", path);
    }
    host.stop().await;
}

#[tokio::test]
async fn unknown_methods_of_theirs_are_unimplemented() {
    let without_reflection = host("[server]\nreflection = false").await;
    let raw = without_reflection.raw().await;
    for path in MANY {
        let answer = raw.call(path, &[], which_services()).await;
        refused(&answer, Code::Unimplemented, "UNKNOWN_METHOD", path);
    }
    without_reflection.stop().await;
    let host = host("").await;
    let raw = host.raw().await;
    for path in [
        "/grpc.health.v1.Health/Nothing",
        "/grpc.health.v1.Health/check",
        "/grpc.health.v1.Health/Check/",
        "/grpc.health.v1.Health/",
        "/grpc.health.v1.Health",
        "/grpc.reflection.v1.ServerReflection/Check",
        "/grpc.reflection.v1alpha.ServerReflection/",
    ] {
        let answer = raw.unary(path, &[], &HealthCheckRequest::default()).await;
        refused(&answer, Code::Unimplemented, "UNKNOWN_METHOD", path);
    }
    let unknown = HealthCheckRequest {
        service: "a.v1.B".into(),
    };
    let answer = raw.unary(CHECK, &[], &unknown).await;
    refused(&answer, Code::NotFound, "UNKNOWN_SERVICE", CHECK);
    host.stop().await;
}

#[tokio::test]
async fn reasons_of_theirs_can_be_left_out() {
    let host = host("[server]\nerror_details = false").await;
    let raw = host.raw().await;
    let unknown = HealthCheckRequest {
        service: "a.v1.B".into(),
    };
    let answer = raw.unary(CHECK, &[], &unknown).await;
    assert_eq!(answer.code(), Code::NotFound);
    assert!(!answer.headers.contains_key("grpc-status-details-bin"));
    let answer = raw.call(REFLECT, &[], Bytes::from_static(b"\0")).await;
    assert_eq!(answer.code(), Code::Internal);
    let trailers = answer.trailers.expect("it had begun");
    assert!(!trailers.contains_key("grpc-status-details-bin"));
    host.stop().await;
}

#[tokio::test]
async fn timeouts_of_clients_hold() {
    let host = host("").await;
    let raw = host.raw().await;
    let message = framed(&HealthCheckRequest::default());
    for path in ALL {
        for malformed in [&[("grpc-timeout", "soon")][..], &[("grpc-timeout", "1S"); 2]] {
            let answer = raw.call(path, malformed, message.clone()).await;
            refused(&answer, Code::InvalidArgument, "MALFORMED_TIMEOUT", path);
        }
        let answer = raw.call(path, &[("grpc-timeout", "1n")], message.clone()).await;
        refused(&answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", path);
        // While the message, or the next one, is waited for.
        let answer = raw.call_slowly(path, &[("grpc-timeout", "200m")]).answer().await;
        refused(&answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", path);
    }
    let answer = raw
        .call(WATCH, &[("grpc-timeout", "200m")], message.clone())
        .await;
    refused(&answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", WATCH);
    let said: Vec<HealthCheckResponse> = messages(&answer);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].status(), ServingStatus::Serving);
    for path in [CHECK, LIST] {
        let answer = raw.call(path, &[("grpc-timeout", "60S")], message.clone()).await;
        assert_eq!(answer.code(), Code::Ok);
    }
    host.stop().await;
}

/// Ends at a deadline that is not the client's.
async fn expires(raw: &RawClient, path: &str, headers: &[(&str, &str)]) {
    let answer = raw.call_slowly(path, headers).answer().await;
    refused(&answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", path);
}

#[tokio::test]
async fn the_operators_deadlines_hold_for_what_does_not_stream() {
    let host = host("[server]\ndefault_deadline_ms = 2000\nmax_deadline_ms = 3000").await;
    let raw = host.raw().await;
    let request = HealthCheckRequest::default();
    let mut watch = host
        .health()
        .watch(request.clone())
        .await
        .expect("served")
        .into_inner();
    let status = watch.next().await.expect("a status").expect("a status");
    assert_eq!(status.status(), ServingStatus::Serving);
    let reflection = crate::reflection::held_open(&host).await;
    for path in [CHECK, LIST] {
        expires(&raw, path, &[]).await;
    }
    expires(&raw, CHECK, &[("grpc-timeout", "1H")]).await;
    // Longer ago than any deadline.
    let ended = tokio::time::timeout(std::time::Duration::from_millis(1), watch.next()).await;
    assert!(ended.is_err(), "{ended:?}");
    drop(reflection);
    host.stop().await;

    let bounded = "[methods.\"grpc.health.v1.Health/Watch\"]\nmax_deadline_ms = 200\n\
                   [methods.\"grpc.reflection.v1.ServerReflection\"]\ndefault_deadline_ms = 200\n";
    let host = self::host(bounded).await;
    let raw = host.raw().await;
    let answer = raw.unary(WATCH, &[("grpc-timeout", "1H")], &request).await;
    refused(&answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", WATCH);
    for path in MANY {
        expires(&raw, path, &[]).await;
    }
    host.stop().await;
}

#[tokio::test]
async fn their_messages_must_come_in_time() {
    let host = host("[server]\nrequest_timeout_ms = 300").await;
    let raw = host.raw().await;
    for path in ONE {
        let answer = raw.call_slowly(path, &[]).answer().await;
        refused(&answer, Code::DeadlineExceeded, "REQUEST_TIMEOUT", path);
    }
    for path in MANY {
        let stuck = raw.call_slowly(path, &[]);
        stuck.send(Bytes::from_static(b"\0\0")).await;
        refused(
            &stuck.answer().await,
            Code::DeadlineExceeded,
            "REQUEST_TIMEOUT",
            path,
        );
    }
    host.stop().await;
}

/// What ends a stream of reflection is what breaks it, and no question.
#[tokio::test]
async fn a_question_that_asks_nothing_is_answered_in_the_stream() {
    use v1::server_reflection_response::MessageResponse;
    let host = host("").await;
    let nothing = framed(&v1::ServerReflectionRequest::default());
    let body = [&nothing[..], &which_services()].concat();
    let answer = host.raw().await.call(REFLECT, &[], body).await;
    assert_eq!(answer.code(), Code::Ok, "{answer:?}");
    let answers: Vec<v1::ServerReflectionResponse> = messages(&answer);
    let answers: Vec<_> = answers
        .into_iter()
        .filter_map(|answer| answer.message_response)
        .collect();
    let [
        MessageResponse::ErrorResponse(error),
        MessageResponse::ListServicesResponse(_),
    ] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!(error.error_code, Code::InvalidArgument as i32);
    host.stop().await;
}

#[tokio::test]
async fn their_failures_are_counted_and_logged_for_those_who_ask() {
    let faults = Plugin::faults(Isolation::Call);
    let host = Setup::of(faults)
        .filter("mortise=info,mortise::calls=debug")
        .start()
        .await;
    let request = HealthCheckRequest {
        service: "a.v1.B".into(),
    };
    let status = host.health().check(request).await.expect_err("it is not known");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "UNKNOWN_SERVICE")
    );
    let line = host
        .log
        .wait_for("the failure", |line| line.field("reason") == "UNKNOWN_SERVICE")
        .await;
    assert_eq!(
        (line.level(), line.field("path").as_str()),
        ("DEBUG", Some(CHECK))
    );
    host.stop().await;
}
