//! A client that speaks HTTP/2 and leaves gRPC to the test.

use std::convert::Infallible;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Request};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic_types::StatusExt;

use super::within_patience;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A connection. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct RawClient {
    connection: SendRequest<Body>,
    address: SocketAddr,
    /// The socket beneath, if the connection is plain TCP.
    socket: Option<Arc<std::net::TcpStream>>,
}

/// An answer in its parts.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) http: http::StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) data: Bytes,
    /// None if the answer was one HEADERS frame.
    pub(crate) trailers: Option<HeaderMap>,
}

impl RawClient {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the host listens");
        // A client that holds back the end of a small request until the beginning is acknowledged measures that.
        stream.set_nodelay(true).expect("it is open");
        let socket = stream.into_std().expect("it is a socket");
        let shared = socket.try_clone().expect("there are descriptors left");
        let stream = TcpStream::from_std(socket).expect("it is a socket");
        Self {
            socket: Some(Arc::new(shared)),
            ..Self::over(stream, address).await
        }
    }

    /// On a connection that there is already.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: SocketAddr,
    ) -> Self {
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        Self {
            connection: sender,
            address,
            socket: None,
        }
    }

    /// Whether the host has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// A gRPC call with the headers that every call has, some more, and any bytes as its body.
    pub(crate) async fn call(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> RawAnswer {
        let body = UnsyncBoxBody::new(Full::new(body.into()));
        self.send(self.request(path, headers, body)).await
    }

    /// A call of which only the headers are sent at first.
    pub(crate) fn call_slowly(&self, path: &str, headers: &[(&str, &str)]) -> SlowCall {
        let (body, frames) = mpsc::channel(1);
        let frames = ReceiverStream::new(frames).map(|data| Ok(Frame::data(data)));
        let request = self.request(path, headers, UnsyncBoxBody::new(StreamBody::new(frames)));
        let client = self.clone();
        let answer = tokio::spawn(async move { client.send(request).await });
        SlowCall { body, answer }
    }

    /// A unary call.
    pub(crate) async fn unary(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        message: &impl Message,
    ) -> RawAnswer {
        self.call(path, headers, framed(message)).await
    }

    /// Whether a call is answered at all. The host may close the connection instead.
    pub(crate) async fn is_served(&self, path: &str, message: &impl Message) -> bool {
        let body = UnsyncBoxBody::new(Full::new(framed(message)));
        let request = self.request(path, &[], body);
        let mut connection = self.connection.clone();
        within_patience("an answer, or none", async {
            connection.ready().await.is_ok() && connection.send_request(request).await.is_ok()
        })
        .await
    }

    /// A call whose answer nobody expects. Dropping it resets the stream.
    pub(crate) async fn abandoned(&self, path: &str, message: &impl Message) {
        let body = UnsyncBoxBody::new(Full::new(framed(message)));
        let request = self.request(path, &[], body);
        let mut connection = self.connection.clone();
        connection.ready().await.expect("the connection is open");
        // Nothing comes once the connection is closed.
        drop(connection.send_request(request).await);
    }

    /// Closes the connection under all that use it.
    pub(crate) fn close(&self) {
        let socket = self.socket.as_ref().expect("it is plain TCP");
        socket.shutdown(Shutdown::Both).expect("it is open");
    }

    fn request(&self, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{path}", self.address))
            .header("te", "trailers");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body).expect("the test sends valid headers")
    }

    /// Any request.
    pub(crate) async fn send(&self, request: Request<Body>) -> RawAnswer {
        let mut connection = self.connection.clone();
        within_patience("an answer", async {
            connection.ready().await.expect("the connection is open");
            let response = connection.send_request(request).await.expect("an answer");
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("a whole answer");
            let trailers = body.trailers().cloned();
            RawAnswer {
                http: head.status,
                headers: head.headers,
                data: body.to_bytes(),
                trailers,
            }
        })
        .await
    }
}

/// A call that waits for its body. Dropping it leaves the call as it is.
#[derive(Debug)]
pub(crate) struct SlowCall {
    body: mpsc::Sender<Bytes>,
    answer: JoinHandle<RawAnswer>,
}

impl SlowCall {
    /// Sends a part of the message.
    pub(crate) async fn send(&self, part: Bytes) {
        self.body.send(part).await.expect("the request is being sent");
    }

    /// Sends the message and waits for the answer.
    pub(crate) async fn finish(self, message: &impl Message) -> RawAnswer {
        self.body
            .send(framed(message))
            .await
            .expect("the request is being sent");
        drop(self.body);
        self.answer.await.expect("the call does not panic")
    }

    /// The answer to a request that never gets its body.
    pub(crate) async fn answer(self) -> RawAnswer {
        let answer = self.answer.await.expect("the call does not panic");
        drop(self.body);
        answer
    }
}

impl RawAnswer {
    /// The headers that carry the status.
    fn last(&self) -> &HeaderMap {
        self.trailers.as_ref().unwrap_or(&self.headers)
    }

    pub(crate) fn code(&self) -> tonic::Code {
        let status = self.last().get("grpc-status");
        tonic::Code::from_bytes(
            status
                .unwrap_or_else(|| panic!("a status in {self:?}"))
                .as_bytes(),
        )
    }

    pub(crate) fn status(&self) -> tonic::Status {
        tonic::Status::from_header_map(self.last()).unwrap_or_else(|| panic!("a status in {self:?}"))
    }

    /// Why the host failed the call; empty if it was not the host.
    pub(crate) fn reason(&self) -> String {
        reason(&self.status())
    }

    /// The bytes of a `-bin` key of the trailers, which has one value.
    pub(crate) fn trailing_bin(&self, key: &str) -> Vec<u8> {
        let value = self.last().get(key);
        let value = value.unwrap_or_else(|| panic!("{key} in {self:?}"));
        STANDARD_NO_PAD.decode(value).expect("base64")
    }

    /// The message of an OK answer.
    pub(crate) fn message<M: Message + Default>(&self) -> M {
        assert_eq!(self.code(), tonic::Code::Ok, "{self:?}");
        assert_eq!(self.data[0], 0, "not compressed");
        assert_eq!(
            self.data[1..5],
            u32::to_be_bytes(self.data.len() as u32 - 5),
            "one message"
        );
        M::decode(&self.data[5..]).expect("a message")
    }
}

/// The `reason` that a host gives with every status of its own; empty in a handler's status.
pub(crate) fn reason(status: &tonic::Status) -> String {
    let info = status
        .get_details_error_info()
        .filter(|info| info.domain == "mortise");
    info.map(|info| info.reason).unwrap_or_default()
}

/// A message behind its length.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    framed_bytes(0, &message.encode_to_vec())
}

/// Any bytes behind a flag and their length.
pub(crate) fn framed_bytes(flag: u8, message: &[u8]) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(flag);
    framed.put_u32(u32::try_from(message.len()).expect("it is small"));
    framed.put_slice(message);
    framed.freeze()
}
