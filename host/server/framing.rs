//! gRPC messages on the wire: one length-prefixed message in, one out.
//!
//! tonic's own decoder would serve, but answers some protocol errors with other codes than the gRPC
//! documents ask for (no message or two on a unary call: UNIMPLEMENTED; over the size limit:
//! RESOURCE_EXHAUSTED), and its response type merges initial metadata of a failed call into the trailers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::status::Failure;

/// A compression flag and a big-endian length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// Messages up to this size are copied behind their prefix, so that they leave in one DATA frame.
const COPY_UP_TO: usize = 16 * 1024;

/// Reads the one message of a unary request and waits for the end of the stream.
///
/// The buffer never grows past the announced length, which is checked against `limit` first.
pub(crate) async fn read_unary<B>(headers: &HeaderMap, body: B, limit: usize) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes>,
{
    refuse_unknown_encoding(headers)?;
    let mut body = std::pin::pin!(body);
    let mut received = Received::default();
    while let Some(frame) = body.frame().await {
        // A body fails when the client resets the stream or the connection breaks.
        let frame = frame.map_err(|_| Failure::Cancelled)?;
        if let Ok(data) = frame.into_data() {
            received.push(data, limit)?;
        }
    }
    received.finish()
}

fn refuse_unknown_encoding(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get("grpc-encoding") {
        Some(encoding) if encoding != "identity" => {
            let encoding = String::from_utf8_lossy(encoding.as_bytes())
                .chars()
                .take(32)
                .collect();
            Err(Failure::UnsupportedEncoding { encoding })
        }
        _ => Ok(()),
    }
}

/// The request so far: its first data frame as it came, and a buffer of its own only if there are more.
#[derive(Default)]
struct Received {
    first: Bytes,
    rest: BytesMut,
    length: Option<usize>,
}

impl Received {
    fn push(&mut self, data: Bytes, limit: usize) -> Result<(), Failure> {
        if self.rest.is_empty() && self.first.is_empty() {
            self.first = data;
        } else {
            if self.rest.is_empty() {
                let expected = self.length.map_or(PREFIX, |length| PREFIX + length);
                self.rest.reserve(expected);
                self.rest.put_slice(&self.first);
            }
            self.rest.put_slice(&data);
        }
        if self.length.is_none() {
            self.length = self.announced(limit)?;
        }
        match self.length {
            Some(length) if self.bytes().len() > PREFIX + length => Err(Failure::NotUnary { empty: false }),
            _ => Ok(()),
        }
    }

    fn announced(&self, limit: usize) -> Result<Option<usize>, Failure> {
        let Some(mut prefix) = self.bytes().get(..PREFIX) else {
            return Ok(None);
        };
        match prefix.get_u8() {
            0 => {}
            1 => {
                return Err(Failure::MalformedFraming {
                    what: "the message is marked as compressed, but there is no grpc-encoding",
                });
            }
            _ => {
                return Err(Failure::MalformedFraming {
                    what: "the compression flag is neither 0 nor 1",
                });
            }
        }
        let size = prefix.get_u32() as usize;
        if size > limit {
            return Err(Failure::RequestTooLarge { size, limit });
        }
        Ok(Some(size))
    }

    fn bytes(&self) -> &[u8] {
        if self.rest.is_empty() {
            &self.first
        } else {
            &self.rest
        }
    }

    fn finish(self) -> Result<Bytes, Failure> {
        let received = self.bytes().len();
        match self.length {
            None if received == 0 => Err(Failure::NotUnary { empty: true }),
            Some(length) if received == PREFIX + length => {
                let mut message = if self.rest.is_empty() {
                    self.first
                } else {
                    self.rest.freeze()
                };
                message.advance(PREFIX);
                Ok(message)
            }
            _ => Err(Failure::MalformedFraming {
                what: "the stream ended inside a message",
            }),
        }
    }
}

/// A whole answer, as HTTP.
pub(crate) type Response = http::Response<tonic::body::Body>;

/// An OK answer: headers with `initial`, the message, trailers with `trailing`.
pub(crate) fn ok(message: Vec<u8>, initial: HeaderMap, mut trailing: HeaderMap) -> Response {
    trailing.insert("grpc-status", HeaderValue::from_static("0"));
    let mut data = [Bytes::new(), Bytes::new()];
    // Messages are within `max_response_bytes`, which is at most 4 GiB - 1.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let small = message.len() <= COPY_UP_TO;
    let mut head = BytesMut::with_capacity(PREFIX + if small { message.len() } else { 0 });
    head.put_u8(0);
    head.put_u32(length);
    if small {
        head.put_slice(&message);
    } else {
        data[1] = message.into();
    }
    data[0] = head.freeze();
    respond(
        initial,
        UnaryBody {
            data,
            trailers: Some(trailing),
        },
    )
}

/// A failed answer: with any initial metadata HEADERS then trailers, else one HEADERS frame
/// (gRPC over HTTP/2, "Trailers-Only").
pub(crate) fn failed(status: &tonic::Status, initial: HeaderMap, mut trailing: HeaderMap) -> Response {
    if status.add_header(&mut trailing).is_err() {
        // Only a message that cannot be a header value gets here, and tonic percent-encodes messages.
        trailing.insert("grpc-status", HeaderValue::from_static("13"));
    }
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

fn respond(mut headers: HeaderMap, body: UnaryBody) -> Response {
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

    /// Unknown: of an exact size hyper would make a `content-length`, which gRPC answers do not carry.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;

    /// Sends `bytes` in frames of `frame` bytes.
    async fn read(bytes: &[u8], frame: usize, limit: usize) -> Result<Bytes, Failure> {
        let frames: Vec<Result<_, std::convert::Infallible>> = bytes
            .chunks(frame.max(1))
            .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))))
            .collect();
        read_unary(
            &HeaderMap::new(),
            StreamBody::new(futures_util::stream::iter(frames)),
            limit,
        )
        .await
    }

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![flag];
        bytes.put_u32(message.len() as u32);
        bytes.extend_from_slice(message);
        bytes
    }

    #[tokio::test]
    async fn a_message_is_read_however_it_is_cut() {
        for message in [&b""[..], b"x", b"hello, world"] {
            let bytes = framed(0, message);
            for frame in 1..=bytes.len() {
                assert_eq!(
                    read(&bytes, frame, 64).await.expect("whole"),
                    message,
                    "frames of {frame}"
                );
            }
        }
    }

    #[tokio::test]
    async fn broken_requests_are_told_apart() {
        let two = [framed(0, b"a"), framed(0, b"b")].concat();
        for frame in 1..=two.len() {
            assert_eq!(
                read(&two, frame, 64).await,
                Err(Failure::NotUnary { empty: false })
            );
        }
        assert_eq!(read(b"", 1, 64).await, Err(Failure::NotUnary { empty: true }));
        let whole = framed(0, b"hello");
        for cut in 1..whole.len() {
            let failure = read(&whole[..cut], 64, 64).await.expect_err("cut");
            assert!(
                matches!(failure, Failure::MalformedFraming { .. }),
                "{cut}: {failure:?}"
            );
        }
        for flag in [1, 2, 255] {
            let failure = read(&framed(flag, b"a"), 64, 64).await.expect_err("flag");
            assert!(matches!(failure, Failure::MalformedFraming { .. }));
        }
    }

    #[tokio::test]
    async fn size_is_checked_before_the_message_arrives() {
        let bytes = [0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            read(&bytes, 64, 10).await,
            Err(Failure::RequestTooLarge {
                size: u32::MAX as usize,
                limit: 10
            })
        );
        assert!(read(&framed(0, &[7; 10]), 64, 10).await.is_ok());
        assert!(read(&framed(0, &[7; 11]), 64, 10).await.is_err());
    }

    #[tokio::test]
    async fn unknown_compression_is_refused_by_name() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-encoding", HeaderValue::from_static("br"));
        let body = http_body_util::Empty::<Bytes>::new();
        assert_eq!(
            read_unary(&headers, body, 10).await,
            Err(Failure::UnsupportedEncoding {
                encoding: "br".into()
            })
        );
    }
}
