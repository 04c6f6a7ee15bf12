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

use super::compression::{Compression, Encoded, decompress, longest_compressed};
use super::grpc_web;
use crate::status::Failure;

/// A compression flag and a big-endian length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// Messages up to this size are copied behind their prefix, so that they leave in one DATA frame.
const COPY_UP_TO: usize = 16 * 1024;

/// Reads the one message of a unary request and waits for the end of the stream.
///
/// Neither what arrives nor what it is decompressed to is ever held beyond `limit`. The announced length is
/// checked before the message is read.
pub(crate) async fn read_unary(
    headers: &HeaderMap,
    mut body: tonic::body::Body,
    limit: usize,
    compression: &Compression,
) -> Result<Bytes, Failure> {
    let encoding = compression.of_request(headers)?;
    let mut received = Received::new(encoding.is_some(), limit);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if grpc_web::is_not_base64(&error) {
                return Failure::MalformedFraming {
                    what: "the body of a grpc-web-text call is not base64",
                };
            }
            // Else a body fails when the client resets the stream or the connection breaks.
            Failure::Cancelled
        })?;
        if let Ok(data) = frame.into_data() {
            received.push(data)?;
        }
    }
    let message = received.finish()?;
    match encoding {
        Some(encoding) if message.compressed => decompress(&message.bytes, encoding, limit).await,
        _ => Ok(message.bytes),
    }
}

/// A message as it came.
struct Message {
    compressed: bool,
    bytes: Bytes,
}

/// The request so far: its first data frame as it came, and a buffer of its own only if there are more.
struct Received {
    first: Bytes,
    rest: BytesMut,
    prefix: Option<Prefix>,
    /// Whether the message may be compressed.
    encoded: bool,
    /// Of the message when it is not compressed, in bytes.
    limit: usize,
}

#[derive(Clone, Copy)]
struct Prefix {
    compressed: bool,
    length: usize,
}

impl Received {
    fn new(encoded: bool, limit: usize) -> Self {
        Self {
            first: Bytes::new(),
            rest: BytesMut::new(),
            prefix: None,
            encoded,
            limit,
        }
    }

    fn push(&mut self, data: Bytes) -> Result<(), Failure> {
        if self.rest.is_empty() && self.first.is_empty() {
            self.first = data;
        } else {
            if self.rest.is_empty() {
                let expected = self.prefix.map_or(PREFIX, |prefix| PREFIX + prefix.length);
                self.rest.reserve(expected);
                self.rest.put_slice(&self.first);
            }
            self.rest.put_slice(&data);
        }
        if self.prefix.is_none() {
            self.prefix = self.announced()?;
        }
        match self.prefix {
            Some(prefix) if self.bytes().len() > PREFIX + prefix.length => {
                Err(Failure::NotUnary { empty: false })
            }
            _ => Ok(()),
        }
    }

    fn announced(&self) -> Result<Option<Prefix>, Failure> {
        let Some(mut prefix) = self.bytes().get(..PREFIX) else {
            return Ok(None);
        };
        let compressed = match prefix.get_u8() {
            0 => false,
            1 if self.encoded => true,
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
        };
        let length = prefix.get_u32() as usize;
        let limit = self.limit;
        if compressed && length > longest_compressed(limit) {
            return Err(Failure::RequestTooLarge { size: None, limit });
        }
        if !compressed && length > limit {
            let size = Some(length);
            return Err(Failure::RequestTooLarge { size, limit });
        }
        Ok(Some(Prefix { compressed, length }))
    }

    fn bytes(&self) -> &[u8] {
        if self.rest.is_empty() {
            &self.first
        } else {
            &self.rest
        }
    }

    fn finish(self) -> Result<Message, Failure> {
        let received = self.bytes().len();
        match self.prefix {
            None if received == 0 => Err(Failure::NotUnary { empty: true }),
            Some(prefix) if received == PREFIX + prefix.length => {
                let mut bytes = if self.rest.is_empty() {
                    self.first
                } else {
                    self.rest.freeze()
                };
                bytes.advance(PREFIX);
                Ok(Message {
                    compressed: prefix.compressed,
                    bytes,
                })
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
pub(crate) fn ok(message: Encoded, mut initial: HeaderMap, mut trailing: HeaderMap) -> Response {
    if let Some(encoding) = message.encoding {
        initial.insert("grpc-encoding", HeaderValue::from_static(encoding.name()));
    }
    let compressed = u8::from(message.encoding.is_some());
    let message = message.bytes;
    trailing.insert("grpc-status", HeaderValue::from_static("0"));
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
    use super::super::compression::Encoding;
    use super::*;
    use http_body_util::StreamBody;

    fn every_compression() -> Compression {
        Compression::new(Encoding::ALL.to_vec())
    }

    async fn read_with(
        headers: &HeaderMap,
        bytes: &[u8],
        frame: usize,
        limit: usize,
    ) -> Result<Bytes, Failure> {
        let frames: Vec<Result<_, std::convert::Infallible>> = bytes
            .chunks(frame.max(1))
            .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))))
            .collect();
        let body = StreamBody::new(futures_util::stream::iter(frames));
        read_unary(headers, tonic::body::Body::new(body), limit, &every_compression()).await
    }

    /// Sends `bytes` in frames of `frame` bytes.
    async fn read(bytes: &[u8], frame: usize, limit: usize) -> Result<Bytes, Failure> {
        read_with(&HeaderMap::new(), bytes, frame, limit).await
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
                size: Some(u32::MAX as usize),
                limit: 10
            })
        );
        assert!(read(&framed(0, &[7; 10]), 64, 10).await.is_ok());
        assert!(read(&framed(0, &[7; 11]), 64, 10).await.is_err());
    }

    #[tokio::test]
    async fn compressed_messages_are_bounded_too() {
        let compression = every_compression();
        for encoding in Encoding::ALL {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-encoding", HeaderValue::from_static(encoding.name()));
            let message = vec![7; 10_000];
            let sent = compression.compress(message.clone(), Some(encoding), 1).await;
            let bytes = framed(1, &sent.bytes);
            for frame in [1, 7, bytes.len()] {
                let received = read_with(&headers, &bytes, frame, message.len()).await;
                assert_eq!(received.expect("whole"), message, "{encoding:?}");
            }
            let limit = message.len() - 1;
            let bomb = read_with(&headers, &bytes, 1 << 20, limit).await;
            assert_eq!(bomb, Err(Failure::RequestTooLarge { size: None, limit }));
            // An announced length that no message within the limit can have is not read at all.
            let endless = [1, 0xff, 0xff, 0xff, 0xff];
            let endless = read_with(&headers, &endless, 5, limit).await;
            assert_eq!(endless, Err(Failure::RequestTooLarge { size: None, limit }));
            // A client with an encoding may send a message as it is.
            let plain = read_with(&headers, &framed(0, b"plain"), 64, 64).await;
            assert_eq!(plain.expect("whole"), &b"plain"[..]);
        }
    }
}
