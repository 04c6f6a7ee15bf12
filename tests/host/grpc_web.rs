//! gRPC-Web, over HTTP/1.1 and HTTP/2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use prost::Message;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::in_both_modes;
use crate::own_services::{CHECK, REFLECT};
use crate::support::http1;
use crate::support::pb::faults::*;
use crate::support::raw::{framed, framed_bytes};
use crate::support::{Host, Isolation, Plugin, Setup, reason};

in_both_modes!(
    calls_are_answered,
    text_is_base64,
    failures_are_answered,
    the_hosts_own_services_are_answered,
    pages_call_only_if_allowed,
);

const ECHO: &str = "/faults.v1.Faults/Echo";
const FAIL: &str = "/faults.v1.Faults/Fail";
const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";

/// A gRPC-Web answer, taken apart.
#[derive(Debug)]
struct Answer {
    http: StatusCode,
    headers: HeaderMap,
    messages: Vec<Bytes>,
    /// None if the status is in the headers.
    trailers: Option<HeaderMap>,
}

impl Answer {
    fn status(&self) -> tonic::Status {
        let last = self.trailers.as_ref().unwrap_or(&self.headers);
        tonic::Status::from_header_map(last).unwrap_or_else(|| panic!("a status in {self:?}"))
    }

    fn message<M: Message + Default>(&self) -> M {
        assert_eq!(self.status().code(), Code::Ok, "{self:?}");
        assert_eq!(self.messages.len(), 1, "{self:?}");
        M::decode(&self.messages[0][..]).expect("a message")
    }
}

/// The same request over both versions of HTTP; the answers in the same order.
async fn call(host: &Host, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> [Answer; 2] {
    let body = body.into();
    let one = http1::send(host.address, Method::POST, path, headers, body.clone()).await;
    let two = host.raw().await.call(path, headers, body).await;
    assert!(two.trailers.is_none(), "HTTP trailers in {two:?}");
    [
        (one.http, one.headers, one.data),
        (two.http, two.headers, two.data),
    ]
    .map(|(http, headers, data)| {
        let text = headers.get("content-type").is_some_and(|value| value == TEXT);
        let data = if text { from_text(&data) } else { data };
        let (messages, trailers) = frames(data);
        Answer {
            http,
            headers,
            messages,
            trailers,
        }
    })
}

/// Pieces of base64, each with its padding.
fn from_text(text: &[u8]) -> Bytes {
    let mut data = Vec::new();
    for quantum in text.chunks(4) {
        data.extend(STANDARD.decode(quantum).expect("base64"));
    }
    data.into()
}

fn frames(mut data: Bytes) -> (Vec<Bytes>, Option<HeaderMap>) {
    let (mut messages, mut trailers) = (Vec::new(), None);
    while !data.is_empty() {
        assert!(trailers.is_none(), "trailers come last");
        let length = u32::from_be_bytes(data[1..5].try_into().expect("four bytes")) as usize;
        let frame = data.split_to(5 + length);
        match frame[0] {
            0 => messages.push(frame.slice(5..)),
            0x80 => trailers = Some(header_lines(&frame[5..])),
            flag => panic!("flag {flag}"),
        }
    }
    (messages, trailers)
}

fn header_lines(lines: &[u8]) -> HeaderMap {
    let lines = std::str::from_utf8(lines).expect("ASCII");
    let entries = lines.split_terminator("\r\n").map(|line| {
        let (name, value) = line.split_once(": ").expect("a name and a value");
        let name: HeaderName = name.parse().expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in entries {
        headers.append(name, value);
    }
    headers
}

fn web(format: &str) -> [(&str, &str); 1] {
    [("content-type", format)]
}

async fn calls_are_answered(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    for size in [0, 5, 100_000] {
        let request = EchoRequest {
            payload: vec![b'w'; size],
        };
        for format in [BINARY, "application/grpc-web", "application/grpc-web; x=y"] {
            for answer in call(&host, ECHO, &web(format), framed(&request)).await {
                assert_eq!(answer.headers["content-type"], BINARY);
                assert_eq!(answer.message::<EchoResponse>().payload, request.payload);
                assert!(!answer.headers.contains_key("access-control-allow-origin"));
            }
        }
    }
    // Metadata both ways, repeated keys included.
    let request = framed(&SetMetadataRequest {
        initial: entries(&["first"]),
        trailing: entries(&["last", "last"]),
    });
    for answer in call(&host, "/faults.v1.Faults/SetMetadata", &web(BINARY), request).await {
        answer.message::<SetMetadataResponse>();
        assert_eq!(answer.headers["first"], "0");
        let trailers = answer.trailers.expect("in the body");
        assert_eq!(trailers.get_all("last").iter().collect::<Vec<_>>(), ["0", "1"]);
    }
    // Compression is gRPC's, inside the frames.
    let headers = [("content-type", BINARY), ("grpc-encoding", "gzip")];
    let request = EchoRequest {
        payload: b"z".to_vec(),
    };
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &request.encode_to_vec()).expect("a vector grows");
    let body = framed_bytes(1, &encoder.finish().expect("a vector grows"));
    for answer in call(&host, ECHO, &headers, body).await {
        assert_eq!(answer.message::<EchoResponse>().payload, b"z");
    }
    host.stop().await;
}

fn entries(keys: &[&str]) -> Vec<Entry> {
    let entries = keys.iter().enumerate().map(|(number, key)| Entry {
        key: (*key).into(),
        value: number.to_string().into(),
    });
    entries.collect()
}

async fn text_is_base64(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let request = framed(&EchoRequest {
        payload: b"text".to_vec(),
    });
    // As one piece, and the prefix and the message as a piece each.
    let pieces = [&request[..5], &request[5..]].map(|piece| STANDARD.encode(piece));
    for body in [STANDARD.encode(&request), pieces.concat()] {
        for format in [TEXT, "application/grpc-web-text"] {
            for answer in call(&host, ECHO, &web(format), body.clone()).await {
                assert_eq!(answer.headers["content-type"], TEXT);
                assert_eq!(answer.message::<EchoResponse>().payload, b"text");
            }
        }
    }
    for body in [request, Bytes::from("AAAAAAA"), Bytes::from("%%%%")] {
        for answer in call(&host, ECHO, &web(TEXT), body.clone()).await {
            let status = answer.status();
            assert_eq!(status.code(), Code::Internal, "{status:?}");
            assert_eq!(crate::support::reason(&status), "MALFORMED_FRAMING");
        }
    }
    host.stop().await;
}

async fn failures_are_answered(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let fail = |initial: &[&str]| {
        framed(&FailRequest {
            code: 5,
            message: "not there".into(),
            initial: entries(initial),
            trailing: entries(&["last"]),
            ..FailRequest::default()
        })
    };
    for answer in call(&host, FAIL, &web(BINARY), fail(&["first"])).await {
        assert_eq!((answer.http, answer.messages.len()), (StatusCode::OK, 0));
        let status = answer.status();
        assert_eq!((status.code(), status.message()), (Code::NotFound, "not there"));
        assert_eq!(answer.headers["first"], "0");
        assert_eq!(answer.trailers.expect("in the body")["last"], "0");
    }
    for answer in call(&host, FAIL, &web(BINARY), fail(&[])).await {
        assert!(answer.trailers.is_none(), "the status is in the headers");
        assert_eq!(answer.status().code(), Code::NotFound);
        assert_eq!(answer.headers["last"], "0");
    }
    let message = framed(&EchoRequest::default());
    let twice = [&message[..], &message[..]].concat();
    for (path, body, code) in [
        ("/faults.v1.Faults/Nothing", message.clone(), Code::Unimplemented),
        (ECHO, Bytes::new(), Code::Unimplemented),
        (ECHO, twice.into(), Code::Unimplemented),
        (ECHO, message.slice(..4), Code::Internal),
        (ECHO, Bytes::from_static(&[1, 0, 0, 0, 0]), Code::Internal),
        // Trailers are the answer's privilege.
        (ECHO, Bytes::from_static(&[0x80, 0, 0, 0, 0]), Code::Internal),
        (
            ECHO,
            Bytes::from_static(&[0, 0xff, 0, 0, 0]),
            Code::ResourceExhausted,
        ),
    ] {
        for answer in call(&host, path, &web(BINARY), body.clone()).await {
            assert_eq!(answer.http, StatusCode::OK);
            assert_eq!(answer.status().code(), code, "{path} {body:?}");
        }
    }
    let hurried = [("content-type", BINARY), ("grpc-timeout", "1n")];
    for answer in call(&host, ECHO, &hurried, message).await {
        assert_eq!(answer.status().code(), Code::DeadlineExceeded);
    }
    host.stop().await;
}

async fn the_hosts_own_services_are_answered(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let check = framed(&HealthCheckRequest {
        service: "faults.v1.Faults".into(),
    });
    for answer in call(&host, CHECK, &web(BINARY), check).await {
        assert_eq!(answer.message::<HealthCheckResponse>().status, 1);
    }
    for answer in call(&host, CHECK, &web(BINARY), Bytes::new()).await {
        assert_eq!(answer.status().code(), Code::Unimplemented);
        assert_eq!(reason(&answer.status()), "NOT_UNARY");
    }
    // Streams, of which one ends by itself and one at its deadline.
    let question = framed(&ServerReflectionRequest::default());
    for answer in call(&host, REFLECT, &web(BINARY), question.clone()).await {
        answer.message::<ServerReflectionResponse>();
    }
    let text = STANDARD.encode(&question);
    for answer in call(&host, REFLECT, &web(TEXT), text).await {
        answer.message::<ServerReflectionResponse>();
    }
    let hurried = [("content-type", BINARY), ("grpc-timeout", "200m")];
    let watch = framed(&HealthCheckRequest::default());
    for answer in call(&host, "/grpc.health.v1.Health/Watch", &hurried, watch).await {
        assert_eq!(answer.messages.len(), 1, "{answer:?}");
        assert_eq!(answer.status().code(), Code::DeadlineExceeded);
        assert_eq!(reason(&answer.status()), "DEADLINE_EXCEEDED");
    }
    host.stop().await;
}

async fn pages_call_only_if_allowed(isolation: Isolation) {
    let ask = async |host: &Host, origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-grpc-web,mine"),
        ];
        http1::send(host.address, Method::OPTIONS, ECHO, &headers, "").await
    };
    let fail = framed(&FailRequest {
        code: 5,
        ..FailRequest::default()
    });

    let closed = Setup::of(Plugin::faults(isolation)).start().await;
    let answer = ask(&closed, "https://shop.example").await;
    assert_eq!(answer.http, StatusCode::METHOD_NOT_ALLOWED);
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    closed.stop().await;

    let host = Setup::of(Plugin::faults(isolation))
        .with("[server]\ngrpc_web_origins = [\"https://shop.example\", \"http://localhost:8080\"]")
        .start()
        .await;
    for origin in ["https://shop.example", "http://localhost:8080"] {
        let answer = ask(&host, origin).await;
        assert_eq!(answer.http, StatusCode::NO_CONTENT);
        assert_eq!(answer.headers["access-control-allow-origin"], origin);
        assert_eq!(answer.headers["access-control-allow-methods"], "POST");
        assert_eq!(
            answer.headers["access-control-allow-headers"],
            "content-type,x-grpc-web,mine"
        );
        let headers = [("content-type", BINARY), ("origin", origin)];
        for answer in call(&host, FAIL, &headers, fail.clone()).await {
            assert_eq!(answer.headers["access-control-allow-origin"], origin);
            let exposed = answer.headers["access-control-expose-headers"].to_str();
            let exposed: Vec<_> = exposed.expect("ASCII").split(',').collect();
            assert!(exposed.contains(&"grpc-status"), "{exposed:?}");
        }
    }
    for origin in ["https://other.example", "https://shop.example:444", "null"] {
        let answer = ask(&host, origin).await;
        assert_eq!(answer.http, StatusCode::FORBIDDEN);
        let headers = [("content-type", BINARY), ("origin", origin)];
        for answer in call(&host, FAIL, &headers, fail.clone()).await {
            assert_eq!(
                answer.status().code(),
                Code::NotFound,
                "the browser keeps it from the page"
            );
            assert!(!answer.headers.contains_key("access-control-allow-origin"));
        }
    }
    host.stop().await;

    let open = Setup::of(Plugin::faults(isolation))
        .with("[server]\ngrpc_web_origins = [\"*\"]")
        .start()
        .await;
    let answer = ask(&open, "https://any.example").await;
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://any.example"
    );
    open.stop().await;
}
