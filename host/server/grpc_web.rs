//! gRPC-Web: gRPC for clients that cannot read HTTP trailers, browsers above all, over HTTP/1.1 and HTTP/2.
//!
//! A request becomes a gRPC request and its answer is translated back, so that nothing behind this module knows
//! of it. What differs is little: the content type, trailers that travel as the last frame of the body, and
//! base64 around the whole body in the text format (PROTOCOL-WEB of the gRPC documents).
//!
//! tonic-web is not used: it takes no content type with parameters, writes the answer in the format of `accept`
//! even where that differs from the request's, and does not tell malformed base64 from a client that went away.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, header};
use http_body::{Body, Frame, SizeHint};

use super::framing::Response;

/// Marks the frame that carries the trailers.
const TRAILERS: u8 = 0x80;

/// Four characters of base64 are three bytes.
const QUANTUM: usize = 4;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Binary,
    /// In base64, of which there may be several padded pieces after each other.
    Text,
}

impl Format {
    /// None if the content type is not of gRPC-Web with protobuf messages. Parameters are cut off already.
    pub(super) fn of(content_type: &[u8]) -> Option<Self> {
        match content_type {
            b"application/grpc-web" | b"application/grpc-web+proto" => Some(Self::Binary),
            b"application/grpc-web-text" | b"application/grpc-web-text+proto" => Some(Self::Text),
            _ => None,
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Text => "application/grpc-web-text+proto",
        })
    }
}

/// The gRPC request that a gRPC-Web request stands for.
pub(super) fn to_grpc(request: Request<tonic::body::Body>, format: Format) -> Request<tonic::body::Body> {
    let (mut head, body) = request.into_parts();
    let grpc = HeaderValue::from_static("application/grpc");
    head.headers.insert(header::CONTENT_TYPE, grpc);
    let body = match format {
        Format::Binary => body,
        Format::Text => tonic::body::Body::new(FromText {
            body,
            partial: BytesMut::new(),
        }),
    };
    Request::from_parts(head, body)
}

/// The gRPC-Web answer for a gRPC answer.
pub(super) fn from_grpc(answer: Response, format: Format) -> Response {
    let (mut head, body) = answer.into_parts();
    head.headers.insert(header::CONTENT_TYPE, format.content_type());
    // An answer of headers alone has its status there, where clients of gRPC-Web find it as well.
    let body = if body.is_end_stream() {
        body
    } else {
        tonic::body::Body::new(WithTrailers { body, format })
    };
    Response::from_parts(head, body)
}

/// A body whose trailers are its last frame.
struct WithTrailers {
    body: tonic::body::Body,
    format: Format,
}

impl Body for WithTrailers {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            end => return Poll::Ready(end),
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => encode_trailers(&frame.into_trailers().unwrap_or_default()),
        };
        Poll::Ready(Some(Ok(Frame::data(match self.format {
            Format::Binary => data,
            Format::Text => STANDARD.encode(data).into(),
        }))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    /// What comes is longer: by the trailers, and by what base64 adds.
    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::default();
        hint.set_lower(self.body.size_hint().lower());
        hint
    }
}

/// As HTTP/1 header lines, without an empty line at the end.
fn encode_trailers(trailers: &HeaderMap) -> Bytes {
    let mut lines = BytesMut::new();
    for (name, value) in trailers {
        lines.put_slice(name.as_str().as_bytes());
        lines.put_slice(b": ");
        lines.put_slice(value.as_bytes());
        lines.put_slice(b"\r\n");
    }
    let mut frame = BytesMut::with_capacity(5 + lines.len());
    frame.put_u8(TRAILERS);
    // Trailers are within `max_response_metadata_bytes`.
    frame.put_u32(u32::try_from(lines.len()).unwrap_or(u32::MAX));
    frame.put_slice(&lines);
    frame.freeze()
}

/// A body that comes in base64.
struct FromText {
    body: tonic::body::Body,
    /// Fewer characters than can be decoded.
    partial: BytesMut,
}

/// The body of a text request is not base64.
#[derive(Debug, thiserror::Error)]
#[error("not base64")]
struct NotBase64;

/// Whether a body failed because it is not the base64 that its content type says.
pub(super) fn is_not_base64(error: &tonic::Status) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<NotBase64>())
}

impl Body for FromText {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let broken = || Poll::Ready(Some(Err(tonic::Status::from_error(Box::new(NotBase64)))));
        loop {
            let data = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    // Trailers of a request mean nothing in gRPC.
                    Err(_) => continue,
                },
                None if self.partial.is_empty() => return Poll::Ready(None),
                None => {
                    self.partial.clear();
                    return broken();
                }
                failed => return Poll::Ready(failed),
            };
            self.partial.extend_from_slice(&data);
            let whole = self.partial.len() / QUANTUM * QUANTUM;
            if whole == 0 {
                continue;
            }
            let text = self.partial.split_to(whole);
            return match decode(&text) {
                Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                None => broken(),
            };
        }
    }
}

/// Decodes whole quanta, of which any may be padded: a client may encode its messages one by one.
fn decode(mut text: &[u8]) -> Option<Bytes> {
    let mut data = Vec::with_capacity(text.len() / QUANTUM * 3);
    while !text.is_empty() {
        let padding = text.iter().position(|byte| *byte == b'=');
        let end = padding.map_or(text.len(), |at| (at / QUANTUM + 1) * QUANTUM);
        let (piece, rest) = text.split_at(end);
        STANDARD.decode_vec(piece, &mut data).ok()?;
        text = rest;
    }
    Some(data.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};

    async fn decoded(text: &[u8], frame: usize) -> Result<Bytes, tonic::Status> {
        let frames: Vec<Result<_, std::convert::Infallible>> = text
            .chunks(frame)
            .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))))
            .collect();
        let body = tonic::body::Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        let body = FromText {
            body,
            partial: BytesMut::new(),
        };
        Ok(body.collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn text_is_read_however_it_is_cut() {
        let pieces = ["mortise", "", "a", "and tenon", "\0\u{ff}"];
        let text: String = pieces.iter().map(|piece| STANDARD.encode(piece)).collect();
        for frame in 1..=text.len() {
            let decoded = decoded(text.as_bytes(), frame).await.expect("base64");
            assert_eq!(decoded, pieces.concat(), "frames of {frame}");
        }
    }

    #[tokio::test]
    async fn text_that_is_not_base64_is_told_from_a_lost_client() {
        for text in [
            "AAA",
            "AAAAA",
            "====",
            "A===",
            "AA=A",
            "AAA*AAAA",
            "AAAA AAAA",
            "AAAA\n",
        ] {
            for frame in 1..=text.len() {
                let error = decoded(text.as_bytes(), frame).await.expect_err("not base64");
                assert!(is_not_base64(&error), "{text} in frames of {frame}");
            }
        }
        assert!(!is_not_base64(&tonic::Status::cancelled("reset")));
    }

    #[test]
    fn trailers_are_header_lines() {
        let mut trailers = HeaderMap::new();
        trailers.append("grpc-status", HeaderValue::from_static("0"));
        trailers.append("key", HeaderValue::from_static("a"));
        trailers.append("key", HeaderValue::from_static("b, c"));
        let frame = encode_trailers(&trailers);
        assert_eq!(frame[..5], [0x80, 0, 0, 0, 35]);
        assert_eq!(frame[5..], *b"grpc-status: 0\r\nkey: a\r\nkey: b, c\r\n");
    }
}
