//! The one message of a unary request.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use super::super::compression::{Compression, decompress};
use super::super::grpc_web;
use super::super::peer::Client;
use super::memory::{Held, RequestMemory};
use super::prefix::{PREFIX, Prefix};
use crate::status::Failure;

/// What a request costs that has to be waited for, besides its headers and its message: a stream and a task.
pub(super) const WAITING_BYTES: usize = 4 * 1024;

/// Of addresses, for a message that has only been announced.
const MAX_RESERVED_BYTES: usize = 16 << 20;

/// The end came too early.
pub(super) const CUT_SHORT: Failure = Failure::MalformedFraming {
    what: "the stream ended inside a message",
};

/// Bounds on what a client may send for one call.
#[derive(Debug, Clone)]
pub struct RequestBounds {
    /// The message, in bytes, when it is not compressed.
    pub max_bytes: usize,
    /// How long it may take to arrive, from the headers on.
    pub timeout: Duration,
    /// Where it is held.
    pub memory: Arc<RequestMemory>,
}

/// Reads the one message of a unary request of `client` and waits for the end of the stream. What it holds of the
/// memory for requests is given back when the second value is dropped.
///
/// Neither what arrives nor what it is decompressed to is ever held beyond the bounds. The announced length is
/// checked before the message is read, and what is held grows with what arrives.
pub(crate) async fn read_unary(
    headers: &HeaderMap,
    body: tonic::body::Body,
    client: Option<Arc<Client>>,
    bounds: &RequestBounds,
    compression: &Compression,
) -> Result<(Bytes, Held), Failure> {
    let encoding = compression.of_request(headers)?;
    let mut received = Received::new(encoding.is_some(), client, bounds);
    {
        let read = pin!(received.read(headers, body));
        let read = tokio::time::timeout(bounds.timeout, read).await;
        read.map_err(|_| Failure::RequestTimeout {
            limit: bounds.timeout,
        })??;
    }
    let (message, mut held) = received.finish()?;
    let bytes = match encoding {
        Some(encoding) if message.compressed => {
            decompress(&message.bytes, encoding, bounds.max_bytes, &mut held).await?
        }
        _ => message.bytes,
    };
    Ok((bytes, held))
}

/// A message as it came.
struct Message {
    compressed: bool,
    bytes: Bytes,
}

/// The request so far.
struct Received {
    /// All of it, if it came as one frame that ended the stream. Any other frame is copied: it would hold on to
    /// what was read from the connection along with it, for as long as the client likes.
    whole: Bytes,
    parts: Vec<u8>,
    /// How many bytes of `parts` are counted in `held`.
    counted: usize,
    prefix: Option<Prefix>,
    /// Whether the message may be compressed.
    encoded: bool,
    /// Of the message when it is not compressed, in bytes.
    limit: usize,
    held: Held,
    waited: bool,
}

impl Received {
    fn new(encoded: bool, client: Option<Arc<Client>>, bounds: &RequestBounds) -> Self {
        Self {
            whole: Bytes::new(),
            parts: Vec::new(),
            counted: 0,
            prefix: None,
            encoded,
            limit: bounds.max_bytes,
            held: bounds.memory.hold(client),
            waited: false,
        }
    }

    async fn read(&mut self, headers: &HeaderMap, mut body: tonic::body::Body) -> Result<(), Failure> {
        while let Some(frame) = self.next(headers, &mut body).await? {
            if let Ok(data) = frame.into_data() {
                self.push(data, body.is_end_stream())?;
            }
        }
        Ok(())
    }

    async fn next(
        &mut self,
        headers: &HeaderMap,
        body: &mut tonic::body::Body,
    ) -> Result<Option<Frame<Bytes>>, Failure> {
        let frame = match body.frame().now_or_never() {
            Some(frame) => frame,
            None => {
                if !self.waited {
                    self.waited = true;
                    self.held.grow(WAITING_BYTES + header_bytes(headers))?;
                }
                body.frame().await
            }
        };
        frame.transpose().map_err(|error| broken_off(&error))
    }

    fn push(&mut self, data: Bytes, last: bool) -> Result<(), Failure> {
        if last && self.parts.is_empty() {
            self.whole = data;
        } else {
            self.make_room(data.len())?;
            self.parts.extend_from_slice(&data);
        }
        if self.prefix.is_none() {
            self.prefix = Prefix::read(self.bytes(), self.encoded, self.limit)?;
        }
        match self.prefix {
            Some(prefix) if self.bytes().len() > prefix.end() => Err(Failure::NotUnary { empty: false }),
            _ => Ok(()),
        }
    }

    /// For so many bytes more. Twice as many are counted as had come, but not more than are to come. What is announced
    /// is reserved at once, so that nothing is copied twice: what is not written to takes no memory.
    fn make_room(&mut self, bytes: usize) -> Result<(), Failure> {
        let needed = self.parts.len() + bytes;
        if needed <= self.counted {
            return Ok(());
        }
        let announced = self.prefix.map_or(0, |prefix| prefix.end());
        let counted = needed.max(announced.min(2 * self.counted));
        self.held.grow(counted - self.counted)?;
        self.counted = counted;
        let room = counted.max(announced.min(MAX_RESERVED_BYTES));
        let reserved = self.parts.try_reserve_exact(room - self.parts.len());
        reserved.map_err(|_| Failure::RequestMemoryFull)
    }

    fn bytes(&self) -> &[u8] {
        if self.parts.is_empty() {
            &self.whole
        } else {
            &self.parts
        }
    }

    fn finish(self) -> Result<(Message, Held), Failure> {
        let received = self.bytes().len();
        match self.prefix {
            None if received == 0 => Err(Failure::NotUnary { empty: true }),
            Some(prefix) if received == prefix.end() => {
                let mut bytes = if self.parts.is_empty() {
                    self.whole
                } else {
                    self.parts.into()
                };
                bytes.advance(PREFIX);
                let message = Message {
                    compressed: prefix.compressed,
                    bytes,
                };
                Ok((message, self.held))
            }
            _ => Err(CUT_SHORT),
        }
    }
}

/// Why a body failed.
pub(super) fn broken_off(error: &tonic::Status) -> Failure {
    if grpc_web::is_not_base64(error) {
        return Failure::MalformedFraming {
            what: "the body of a grpc-web-text call is not base64",
        };
    }
    // Else a body fails when the client resets the stream or the connection breaks.
    Failure::Cancelled
}

/// About what a header list takes in memory.
pub(super) fn header_bytes(headers: &HeaderMap) -> usize {
    let entry =
        |(name, value): (&http::HeaderName, &http::HeaderValue)| name.as_str().len() + value.len() + 32;
    headers.iter().map(entry).sum()
}

#[cfg(test)]
mod tests {
    use super::super::super::compression::Encoding;
    use super::*;
    use bytes::BufMut;
    use http::HeaderValue;
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
        let bounds = RequestBounds {
            max_bytes: limit,
            timeout: Duration::from_secs(60),
            memory: RequestMemory::new(1 << 20),
        };
        let compression = every_compression();
        let body = tonic::body::Body::new(body);
        let read = read_unary(headers, body, None, &bounds, &compression);
        read.await.map(|(message, _)| message)
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
