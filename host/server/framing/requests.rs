//! The messages of a request that has any number of them.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;

use super::super::compression::{Compression, Encoding, decompress};
use super::super::peer::Client;
use super::memory::Held;
use super::prefix::{PREFIX, Prefix};
use super::request::{CUT_SHORT, RequestBounds, WAITING_BYTES, broken_off, header_bytes};
use crate::status::Failure;

/// Reads one message after the other, within the bounds of one for each.
pub(crate) struct Requests {
    body: tonic::body::Body,
    encoding: Option<Encoding>,
    client: Option<Arc<Client>>,
    bounds: RequestBounds,
    /// What came of the messages: no more than one and a frame.
    received: Vec<u8>,
    /// Where the first message that was not read yet begins.
    start: usize,
    /// For `received`.
    held: Held,
    /// For the stream itself.
    _waiting: Held,
}

impl Requests {
    /// Those in `body`, of a request of `client`.
    ///
    /// # Errors
    /// If their encoding is not spoken, or there is no room to wait for them.
    pub(crate) fn new(
        headers: &HeaderMap,
        body: tonic::body::Body,
        client: Option<Arc<Client>>,
        bounds: &RequestBounds,
        compression: &Compression,
    ) -> Result<Self, Failure> {
        let encoding = compression.of_request(headers)?;
        let mut waiting = bounds.memory.hold(client.clone());
        waiting.grow(WAITING_BYTES + header_bytes(headers))?;
        Ok(Self {
            body,
            encoding,
            held: bounds.memory.hold(client.clone()),
            client,
            bounds: bounds.clone(),
            received: Vec::new(),
            start: 0,
            _waiting: waiting,
        })
    }

    /// The next message; none at the end of the stream. The client may take as long as it likes to begin one, and
    /// no longer than the bounds say to end it.
    pub(crate) async fn next(&mut self) -> Result<Option<(Bytes, Held)>, Failure> {
        if self.unread().is_empty() && !self.receive().await? {
            return Ok(None);
        }
        let limit = self.bounds.timeout;
        let whole = tokio::time::timeout(limit, self.whole()).await;
        let (compressed, bytes) = whole.map_err(|_| Failure::RequestTimeout { limit })??;
        let mut held = self.bounds.memory.hold(self.client.clone());
        held.grow(bytes.len())?;
        let bytes = match self.encoding {
            Some(encoding) if compressed => {
                decompress(&bytes, encoding, self.bounds.max_bytes, &mut held).await?
            }
            _ => bytes,
        };
        Ok(Some((bytes, held)))
    }

    /// Whether the next message is compressed, and that message as it came.
    async fn whole(&mut self) -> Result<(bool, Bytes), Failure> {
        loop {
            let (encoded, limit) = (self.encoding.is_some(), self.bounds.max_bytes);
            let prefix = Prefix::read(self.unread(), encoded, limit)?;
            if let Some(prefix) = prefix.filter(|prefix| prefix.end() <= self.unread().len()) {
                let bytes = Bytes::copy_from_slice(&self.unread()[PREFIX..prefix.end()]);
                self.start += prefix.end();
                return Ok((prefix.compressed, bytes));
            }
            if !self.receive().await? {
                return Err(CUT_SHORT);
            }
        }
    }

    fn unread(&self) -> &[u8] {
        &self.received[self.start..]
    }

    /// Waits for some bytes more. False at the end of the stream.
    async fn receive(&mut self) -> Result<bool, Failure> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| broken_off(&error))?;
            match frame.into_data() {
                Ok(data) if !data.is_empty() => return self.push(&data).map(|()| true),
                _ => {}
            }
        }
        Ok(false)
    }

    fn push(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.received.drain(..self.start);
        self.start = 0;
        if self.received.is_empty() {
            // A large message leaves nothing behind.
            self.received = Vec::new();
            self.held = self.bounds.memory.hold(self.client.clone());
        }
        let (length, capacity) = (self.received.len(), self.received.capacity());
        let needed = length + data.len();
        if needed > capacity {
            let room = needed.max(2 * capacity);
            self.held.grow(room - capacity)?;
            self.received.reserve_exact(room - length);
        }
        self.received.extend_from_slice(data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use bytes::BufMut;
    use futures_util::StreamExt;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::super::RequestMemory;
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.put_u32(message.len() as u32);
        bytes.extend_from_slice(message);
        bytes
    }

    /// Requests that arrive in `frames`, and then end, or never do.
    fn requests(frames: Vec<Vec<u8>>, ends: bool, memory: &Arc<RequestMemory>) -> Requests {
        let frames = frames
            .into_iter()
            .map(|frame| Ok::<_, Infallible>(Frame::data(frame.into())));
        let frames = futures_util::stream::iter(frames);
        let body = if ends {
            tonic::body::Body::new(StreamBody::new(frames))
        } else {
            tonic::body::Body::new(StreamBody::new(frames.chain(futures_util::stream::pending())))
        };
        let bounds = RequestBounds {
            max_bytes: 100,
            timeout: TIMEOUT,
            memory: memory.clone(),
        };
        let compression = Compression::new(Encoding::ALL.to_vec());
        Requests::new(&HeaderMap::new(), body, None, &bounds, &compression).expect("there is room")
    }

    async fn read(requests: &mut Requests) -> Result<Option<Bytes>, Failure> {
        let read = requests.next().await?;
        Ok(read.map(|(message, _)| message))
    }

    #[tokio::test]
    async fn messages_are_read_however_they_are_cut() {
        let messages = [&b""[..], b"one", b"", &[7; 100], b"last"];
        let bytes: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
        for frame in 1..=bytes.len() {
            let memory = RequestMemory::new(1 << 20);
            let frames = bytes.chunks(frame).map(<[u8]>::to_vec).collect();
            let mut requests = requests(frames, true, &memory);
            for message in messages {
                let read = read(&mut requests).await.expect("whole");
                assert_eq!(read.as_deref(), Some(message), "frames of {frame}");
            }
            assert_eq!(read(&mut requests).await, Ok(None));
            drop(requests);
            assert_eq!(memory.held(), 0);
        }
    }

    #[tokio::test]
    async fn what_comes_before_a_broken_message_is_read() {
        let memory = RequestMemory::new(1 << 20);
        for (broken, failure) in [
            (&b"\0\0\0\0\x05hell"[..], CUT_SHORT),
            (
                b"\0\xff\0\0\0",
                Failure::RequestTooLarge {
                    size: Some(0xff00_0000),
                    limit: 100,
                },
            ),
        ] {
            let mut requests = requests(vec![framed(b"one"), broken.to_vec()], true, &memory);
            assert_eq!(read(&mut requests).await, Ok(Some(Bytes::from_static(b"one"))));
            assert_eq!(read(&mut requests).await, Err(failure));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_has_begun_must_end_in_time() {
        let memory = RequestMemory::new(1 << 20);
        let mut idle = requests(vec![framed(b"one")], false, &memory);
        read(&mut idle).await.expect("whole");
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, read(&mut idle)).await.is_err());
        let mut stuck = requests(vec![b"\0\0".to_vec()], false, &memory);
        assert_eq!(
            read(&mut stuck).await,
            Err(Failure::RequestTimeout { limit: TIMEOUT })
        );
    }
}
