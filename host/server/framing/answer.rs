//! The answer of a call.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};

use super::super::compression::Encoded;
use super::prefix::PREFIX;

/// Messages up to this size are copied behind their prefix, so that they leave in one DATA frame.
const COPY_UP_TO: usize = 16 * 1024;

/// A whole answer, as HTTP.
pub(crate) type Response = http::Response<tonic::body::Body>;

/// An OK answer: headers with `initial`, the message, trailers with `trailing`.
pub(crate) fn ok(message: Encoded, mut initial: HeaderMap, mut trailing: HeaderMap) -> Response {
    if let Some(encoding) = message.encoding {
        initial.insert("grpc-encoding", HeaderValue::from_static(encoding.name()));
    }
    trailing.insert("grpc-status", HeaderValue::from_static("0"));
    respond(
        initial,
        UnaryBody {
            data: framed(message),
            trailers: Some(trailing),
        },
    )
}

/// A message behind its prefix, in one or two pieces.
pub(super) fn framed(message: Encoded) -> [Bytes; 2] {
    let compressed = u8::from(message.encoding.is_some());
    let message = message.bytes;
    let mut data = [Bytes::new(), Bytes::new()];
    // Messages are within `max_response_bytes`, which is at most 4 GiB - 1.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let small = message.len() <= COPY_UP_TO;
    let mut head = BytesMut::with_capacity(PREFIX + if small { message.len() } else { 0 });
    head.put_u8(compressed);
    head.put_u32(length);
    if small {
        head.put_slice(&message);
    } else {
        data[1] = message.into();
    }
    data[0] = head.freeze();
    data
}

/// A failed answer: with any initial metadata HEADERS then trailers, else one HEADERS frame
/// (gRPC over HTTP/2, "Trailers-Only").
pub(crate) fn failed(status: &tonic::Status, initial: HeaderMap, mut trailing: HeaderMap) -> Response {
    add_status(status, &mut trailing);
    if initial.is_empty() {
        return respond(
            trailing,
            UnaryBody {
                data: [Bytes::new(), Bytes::new()],
                trailers: None,
            },
        );
    }
    respond(
        initial,
        UnaryBody {
            data: [Bytes::new(), Bytes::new()],
            trailers: Some(trailing),
        },
    )
}

pub(super) fn add_status(status: &tonic::Status, trailing: &mut HeaderMap) {
    if status.add_header(trailing).is_err() {
        // Only a message that cannot be a header value gets here, and tonic percent-encodes messages.
        trailing.insert("grpc-status", HeaderValue::from_static("13"));
    }
}

pub(super) fn respond<B>(mut headers: HeaderMap, body: B) -> Response
where
    B: Body<Data = Bytes, Error = tonic::Status> + Send + 'static,
{
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut response = http::Response::new(tonic::body::Body::new(body));
    *response.headers_mut() = headers;
    response
}

/// At most two data frames, then trailers if there are any.
struct UnaryBody {
    data: [Bytes; 2],
    trailers: Option<HeaderMap>,
}

impl Body for UnaryBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        for data in &mut self.data {
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(data)))));
            }
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.trailers.is_none() && self.data.iter().all(Bytes::is_empty)
    }

    /// No upper bound: of an exact size hyper would make a `content-length`, which gRPC answers do not carry.
    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::default();
        hint.set_lower(self.data.iter().map(|data| data.len() as u64).sum());
        hint
    }
}
