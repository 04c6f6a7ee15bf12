//! A small gRPC server with reflection, to be called by `mortise call`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    Any, DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto, ServiceDescriptorProto,
};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_types::pb::bad_request::FieldViolation;
use tonic_types::pb::{BadRequest, Status};
use tower_service::Service;

/// The message of every method: `{string text = 1; int64 number = 2; echo.v1.Extra extra = 3}`, the last
/// in a file of its own.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Note {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(int64, tag = "2")]
    pub(crate) number: i64,
}

/// The version of reflection that the server offers.
#[derive(Clone, Copy)]
pub(crate) enum Offers {
    V1,
    V1Alpha,
    Nothing,
}

/// Serves on a port of the loopback interface for as long as the test process lives.
///
/// `Echo` answers with its request, and with the request metadata `x-tag` and `token-bin` in its text.
/// `Fail` answers with INVALID_ARGUMENT and details. `Hang` never answers. `Watch` is a streaming method.
pub(crate) fn start(offers: Offers) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    listener
        .set_nonblocking(true)
        .expect("sockets can be non-blocking");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it is a listener");
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            let builder =
                || tonic_reflection::server::Builder::configure().register_file_descriptor_set(descriptors());
            let v1 = builder().build_v1().expect("the descriptors are right");
            let v1alpha = builder().build_v1alpha().expect("the descriptors are right");
            let server = tonic::transport::Server::builder();
            match offers {
                Offers::V1 => {
                    server
                        .serve_with_incoming(Echo { reflection: v1 }, incoming)
                        .await
                }
                Offers::V1Alpha => {
                    server
                        .serve_with_incoming(Echo { reflection: v1alpha }, incoming)
                        .await
                }
                Offers::Nothing => {
                    server
                        .serve_with_incoming(
                            Echo {
                                reflection: NoService,
                            },
                            incoming,
                        )
                        .await
                }
            }
        })
    });
    address
}

#[derive(Clone)]
struct Echo<R> {
    reflection: R,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<R> Service<Request<Body>> for Echo<R>
where
    R: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + NamedService + Clone,
    R::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let path = request.uri().path().to_owned();
        if path.starts_with(&format!("/{}/", R::NAME)) {
            return Box::pin(self.reflection.call(request));
        }
        Box::pin(async move { Ok(answer(&path, request).await) })
    }
}

async fn answer(path: &str, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("the request arrives").to_bytes();
    match path {
        "/echo.v1.EchoService/Echo" => {
            let mut note = Note::decode(&body[5..]).expect("the request is a Note");
            for key in ["x-tag", "token-bin"] {
                for value in head.headers.get_all(key) {
                    note.text += &format!(" {key}={}", value.to_str().expect("it is ASCII"));
                }
            }
            respond(Some(note), trailers(0, &[("processing-time-ms", "3")]))
        }
        "/echo.v1.EchoService/Fail" => {
            let details = Status {
                code: 3,
                message: "Invalid\tnote".into(),
                details: vec![
                    any(
                        "google.rpc.BadRequest",
                        &BadRequest {
                            field_violations: vec![FieldViolation {
                                field: "text".into(),
                                description: "is empty".into(),
                                ..FieldViolation::default()
                            }],
                        },
                    ),
                    any(
                        "echo.v1.Note",
                        &Note {
                            text: "a note".into(),
                            number: 7,
                        },
                    ),
                    any(
                        "other.v1.Unknown",
                        &Note {
                            text: "?".into(),
                            number: 0,
                        },
                    ),
                ],
            };
            let details = tonic::metadata::BinaryMetadataValue::from_bytes(&details.encode_to_vec());
            let details = details.as_encoded_bytes().to_vec();
            let details = String::from_utf8(details).expect("base64 is ASCII");
            respond(
                None,
                trailers(
                    3,
                    &[
                        ("grpc-message", "Invalid%09note"),
                        ("grpc-status-details-bin", &details),
                    ],
                ),
            )
        }
        "/echo.v1.EchoService/Hang" => std::future::pending().await,
        _ => respond(None, trailers(12, &[])),
    }
}

fn any(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

fn trailers(status: u8, entries: &[(&'static str, &str)]) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(u16::from(status)));
    for (key, value) in entries {
        trailers.insert(*key, value.parse().expect("it is a header value"));
    }
    trailers
}

fn respond(message: Option<Note>, trailers: HeaderMap) -> Response<Body> {
    let message = message.map(|message| {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.encoded_len()).expect("it is small"));
        message.encode(&mut frame).expect("a buffer grows");
        Frame::data(frame.freeze())
    });
    let frames = message.into_iter().chain([Frame::<Bytes>::trailers(trailers)]);
    let body = StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, tonic::Status>)));
    let mut response = Response::new(Body::new(body));
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    response
        .headers_mut()
        .insert("server-version", HeaderValue::from_static("1.0"));
    response
}

/// Reflection that no path leads to.
#[derive(Clone)]
struct NoService;

impl NamedService for NoService {
    const NAME: &'static str = "none";
}

impl Service<Request<Body>> for NoService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Answer {
        Box::pin(async { Ok(respond(None, trailers(12, &[]))) })
    }
}

fn descriptors() -> FileDescriptorSet {
    let field = |name: &str, number: i32, kind: Type| FieldDescriptorProto {
        name: Some(name.into()),
        json_name: Some(name.into()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    };
    let extra = FieldDescriptorProto {
        type_name: Some(".echo.v1.Extra".into()),
        ..field("extra", 3, Type::Message)
    };
    let method = |name: &str, streaming: bool| MethodDescriptorProto {
        name: Some(name.into()),
        input_type: Some(".echo.v1.Note".into()),
        output_type: Some(".echo.v1.Note".into()),
        server_streaming: Some(streaming),
        ..MethodDescriptorProto::default()
    };
    let extra_file = FileDescriptorProto {
        name: Some("echo/v1/extra.proto".into()),
        package: Some("echo.v1".into()),
        message_type: vec![DescriptorProto {
            name: Some("Extra".into()),
            ..DescriptorProto::default()
        }],
        syntax: Some("proto3".into()),
        ..FileDescriptorProto::default()
    };
    let echo_file = FileDescriptorProto {
        name: Some("echo/v1/echo.proto".into()),
        package: Some("echo.v1".into()),
        dependency: vec!["echo/v1/extra.proto".into()],
        message_type: vec![DescriptorProto {
            name: Some("Note".into()),
            field: vec![
                field("text", 1, Type::String),
                field("number", 2, Type::Int64),
                extra,
            ],
            ..DescriptorProto::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some("EchoService".into()),
            method: vec![
                method("Echo", false),
                method("Fail", false),
                method("Hang", false),
                method("Watch", true),
            ],
            ..ServiceDescriptorProto::default()
        }],
        syntax: Some("proto3".into()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet {
        file: vec![extra_file, echo_file],
    }
}
