//! Message compression: which encodings are spoken, and how a message is brought into and out of them.
//!
//! tonic compresses inside its own codec, which the host does not use (`framing.rs` says why), and lets a
//! message grow past the limit before it looks at its size.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use flate2::read::{GzEncoder, ZlibEncoder};
use http::{HeaderMap, HeaderValue};

use super::framing::Held;
use crate::status::Failure;

/// Bytes that are read between two chances for other calls on the same thread.
const CHUNK: usize = 64 * 1024;

/// Speed before size: answers are compressed while their callers wait.
const GZIP_LEVEL: flate2::Compression = flate2::Compression::fast();
const ZSTD_LEVEL: i32 = 1;

/// A zstd frame says how much memory it needs to be decoded. 8 MiB is what every decoder should offer
/// (RFC 8878, section 3.1.1.1.2) and as much as the usual levels ask for.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;

/// A compression of the gRPC documents ("Compression" and "Message-Encoding" of gRPC over HTTP/2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
    /// The zlib format (RFC 1950), as in HTTP, not bare deflate.
    Deflate,
}

impl Encoding {
    /// Every encoding, the preferred one first.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Gzip, Self::Deflate];

    /// The name in `grpc-encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }
}

/// Which encodings the host speaks, and when it compresses.
#[derive(Debug, Clone)]
pub struct Compression {
    encodings: Vec<Encoding>,
    supported: HeaderValue,
}

impl Compression {
    /// `encodings` in the order of preference.
    pub fn new(encodings: Vec<Encoding>) -> Self {
        let mut supported = String::from("identity");
        for encoding in &encodings {
            supported.push(',');
            supported.push_str(encoding.name());
        }
        Self {
            encodings,
            supported: HeaderValue::try_from(supported).expect("names of encodings are ASCII"),
        }
    }

    /// The value of `grpc-accept-encoding` in answers to requests in an encoding that is not spoken.
    pub(crate) fn supported(&self) -> HeaderValue {
        self.supported.clone()
    }

    /// The encoding of the request's message, if it is compressed.
    ///
    /// # Errors
    /// If it is one that is not spoken.
    pub(crate) fn of_request(&self, headers: &HeaderMap) -> Result<Option<Encoding>, Failure> {
        let Some(name) = headers.get("grpc-encoding") else {
            return Ok(None);
        };
        if name == "identity" {
            return Ok(None);
        }
        self.named(name.as_bytes())
            .map(Some)
            .ok_or_else(|| Failure::UnsupportedEncoding {
                encoding: String::from_utf8_lossy(name.as_bytes())
                    .chars()
                    .take(32)
                    .collect(),
                supported: self.supported.to_str().unwrap_or_default().to_owned(),
            })
    }

    /// The encoding to answer in: that of the request where the client also accepts it, else the preferred
    /// one of those it accepts.
    pub(crate) fn of_answer(&self, headers: &HeaderMap) -> Option<Encoding> {
        let accepted = headers.get("grpc-accept-encoding")?.as_bytes();
        let accepts = |encoding: &Encoding| {
            accepted
                .split(|byte| *byte == b',')
                .any(|name| name.trim_ascii() == encoding.name().as_bytes())
        };
        let same = headers
            .get("grpc-encoding")
            .and_then(|name| self.named(name.as_bytes()));
        same.filter(accepts)
            .or_else(|| self.encodings.iter().copied().find(accepts))
    }

    fn named(&self, name: &[u8]) -> Option<Encoding> {
        let spoken = self.encodings.iter().copied();
        spoken
            .into_iter()
            .find(|encoding| encoding.name().as_bytes() == name)
    }

    /// Compresses `message` for a client that accepts `encoding`, where it is worth it: the message has
    /// `min_bytes` or more and becomes smaller.
    pub(crate) async fn compress(
        &self,
        message: Vec<u8>,
        encoding: Option<Encoding>,
        min_bytes: usize,
    ) -> Encoded {
        let Some(encoding) = encoding else {
            return Encoded::plain(message);
        };
        if message.len() < min_bytes.max(1) {
            return Encoded::plain(message);
        }
        // A failure to compress (zstd may lack memory) costs size, not the answer.
        match compress(&message, encoding).await {
            Ok(Some(compressed)) => Encoded {
                bytes: compressed,
                encoding: Some(encoding),
            },
            Ok(None) | Err(_) => Encoded::plain(message),
        }
    }
}

/// A message as it goes on the wire.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(super) bytes: Vec<u8>,
    /// None if it is not compressed.
    pub(super) encoding: Option<Encoding>,
}

impl Encoded {
    /// Not compressed.
    pub(super) fn plain(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            encoding: None,
        }
    }
}

/// None if it would not become smaller.
async fn compress(message: &[u8], encoding: Encoding) -> io::Result<Option<Vec<u8>>> {
    let reader: Box<dyn Read + Send + '_> = match encoding {
        Encoding::Gzip => Box::new(GzEncoder::new(message, GZIP_LEVEL)),
        Encoding::Deflate => Box::new(ZlibEncoder::new(message, GZIP_LEVEL)),
        Encoding::Zstd => {
            let mut encoder = zstd::stream::read::Encoder::with_buffer(message, ZSTD_LEVEL)?;
            // Small messages then need small tables, in the decoder too.
            encoder.set_pledged_src_size(Some(message.len() as u64))?;
            Box::new(encoder)
        }
    };
    read_within(reader, message.len() / 2, message.len() - 1, |_| Ok(())).await
}

/// The longest a message of at most `limit` bytes can be when it is compressed. Data that does not compress
/// grows, in the worst of these formats (zstd) by 1 in 256 and a header.
pub(super) fn longest_compressed(limit: usize) -> usize {
    limit.saturating_add(limit / 256).saturating_add(1024)
}

/// Undoes the compression of a message, of which no more than `limit` bytes are ever held, as part of what the
/// request holds.
///
/// # Errors
/// If it is longer than `limit`, is not in that encoding, or there is no room for it.
pub(super) async fn decompress(
    message: &[u8],
    encoding: Encoding,
    limit: usize,
    held: &mut Held,
) -> Result<Bytes, Failure> {
    if message.is_empty() {
        // Nothing is nothing in any encoding; some clients do not even write its header.
        return Ok(Bytes::new());
    }
    let broken = |_| Failure::MalformedFraming {
        what: "the message is not in the encoding that grpc-encoding says",
    };
    let mut rest = message;
    let reader: Box<dyn Read + Send + '_> = match encoding {
        Encoding::Gzip => Box::new(MultiGzDecoder::new(&mut rest)),
        Encoding::Deflate => Box::new(ZlibDecoder::new(&mut rest)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&mut rest).map_err(broken)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(broken)?;
            Box::new(decoder)
        }
    };
    let expected = message.len().saturating_mul(4);
    let mut no_room = None;
    let room = |bytes| {
        held.grow(bytes).map_err(|failure| {
            no_room = Some(failure);
            io::ErrorKind::OutOfMemory.into()
        })
    };
    let read = read_within(reader, expected, limit, room).await;
    if let Some(failure) = no_room {
        return Err(failure);
    }
    match read.map_err(broken)? {
        Some(_) if !rest.is_empty() => Err(Failure::MalformedFraming {
            what: "there is more after the end of the compressed message",
        }),
        Some(decompressed) => Ok(decompressed.into()),
        None => Err(Failure::RequestTooLarge { size: None, limit }),
    }
}

/// Reads to the end, a chunk at a time; none if there are more than `limit` bytes. Holds at most one byte more
/// than that. `expected` is a first guess at the length; `room` is asked before memory is taken, for how many
/// bytes more.
async fn read_within(
    mut reader: impl Read,
    expected: usize,
    limit: usize,
    mut room: impl FnMut(usize) -> io::Result<()>,
) -> io::Result<Option<Vec<u8>>> {
    // One byte over the limit tells that there is more.
    let most = limit.saturating_add(1);
    let mut bytes = Vec::new();
    let mut yielded = 0;
    loop {
        let start = bytes.len();
        if start == bytes.capacity() {
            let grown = (2 * start).max(expected.clamp(256, CHUNK)).min(most);
            room(grown - start)?;
            bytes.reserve_exact(grown - start);
        }
        bytes.resize((start + CHUNK).min(bytes.capacity()).min(most), 0);
        let read = reader.read(&mut bytes[start..])?;
        bytes.truncate(start + read);
        if read == 0 {
            return Ok(Some(bytes));
        }
        if bytes.len() > limit {
            return Ok(None);
        }
        if bytes.len() - yielded >= CHUNK {
            yielded = bytes.len();
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::framing::RequestMemory;
    use super::*;

    async fn decompress(message: &[u8], encoding: Encoding, limit: usize) -> Result<Bytes, Failure> {
        let mut held = RequestMemory::new(usize::MAX).hold(None);
        super::decompress(message, encoding, limit, &mut held).await
    }

    async fn read_within(reader: impl Read, expected: usize, limit: usize) -> io::Result<Option<Vec<u8>>> {
        super::read_within(reader, expected, limit, |_| Ok(())).await
    }

    fn text(bytes: usize) -> Vec<u8> {
        b"mortise and tenon, "
            .iter()
            .copied()
            .cycle()
            .take(bytes)
            .collect()
    }

    async fn compressed(message: &[u8], encoding: Encoding) -> Vec<u8> {
        compress(message, encoding)
            .await
            .unwrap()
            .expect("it became smaller")
    }

    #[tokio::test]
    async fn messages_survive_the_way_there_and_back() {
        for encoding in Encoding::ALL {
            for length in [200, CHUNK - 1, CHUNK, CHUNK + 1, 1 << 20] {
                let message = text(length);
                let sent = compressed(&message, encoding).await;
                assert!(sent.len() < message.len());
                let received = decompress(&sent, encoding, length).await.unwrap();
                assert_eq!(received, message, "{encoding:?} {length}");
            }
        }
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_limit() {
        for encoding in Encoding::ALL {
            let bomb = compressed(&vec![0; 64 << 20], encoding).await;
            assert!(bomb.len() < 1 << 20);
            for limit in [0, 1, 1000, CHUNK, 1 << 20, (64 << 20) - 1] {
                assert_eq!(
                    decompress(&bomb, encoding, limit).await,
                    Err(Failure::RequestTooLarge { size: None, limit }),
                    "{encoding:?}"
                );
            }
            assert_eq!(
                decompress(&bomb, encoding, 64 << 20).await.unwrap().len(),
                64 << 20
            );
        }
    }

    #[tokio::test]
    async fn a_bomb_stops_where_there_is_no_room() {
        let bomb = compressed(&vec![0; 1 << 20], Encoding::Zstd).await;
        let mut held = RequestMemory::new(100_000).hold(None);
        let failure = super::decompress(&bomb, Encoding::Zstd, 1 << 20, &mut held).await;
        assert_eq!(failure, Err(Failure::RequestMemoryFull));
    }

    #[tokio::test]
    async fn what_is_read_is_held_within_the_limit() {
        for limit in [1, 255, 5000, 3 * CHUNK + 1] {
            let read = read_within(io::repeat(7), 10 * limit, limit).await.unwrap();
            assert_eq!(read, None);
            let read = read_within(io::repeat(7).take(limit as u64), 1, limit)
                .await
                .unwrap();
            let read = read.expect("within the limit");
            assert_eq!(read.len(), limit);
            assert!(read.capacity() <= limit + 1, "{} for {limit}", read.capacity());
        }
    }

    #[tokio::test]
    async fn what_is_damaged_is_refused() {
        for encoding in Encoding::ALL {
            let whole = compressed(&text(5000), encoding).await;
            let mut flipped = whole.clone();
            flipped[0] ^= 0xff;
            let longer = [&whole[..], b"and more"].concat();
            let mut broken = vec![b"not compressed at all".to_vec(), flipped, longer];
            broken.extend((1..whole.len()).map(|cut| whole[..cut].to_vec()));
            for broken in broken {
                let failure = decompress(&broken, encoding, 1 << 20).await;
                assert!(
                    matches!(failure, Err(Failure::MalformedFraming { .. })),
                    "{encoding:?} {} of {}: {failure:?}",
                    broken.len(),
                    whole.len()
                );
            }
            assert_eq!(decompress(b"", encoding, 10).await.unwrap(), Bytes::new());
        }
    }

    #[tokio::test]
    async fn a_frame_that_asks_for_too_much_memory_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(MAX_ZSTD_WINDOW_LOG + 1).unwrap();
        std::io::Write::write_all(&mut encoder, &text(1000)).unwrap();
        let greedy = encoder.finish().unwrap();
        assert!(matches!(
            decompress(&greedy, Encoding::Zstd, 10_000).await,
            Err(Failure::MalformedFraming { .. })
        ));
    }

    #[tokio::test]
    async fn answers_are_compressed_where_it_is_worth_it() {
        let compression = Compression::new(Encoding::ALL.to_vec());
        for encoding in Encoding::ALL {
            let small = compression.compress(text(99), Some(encoding), 100).await;
            assert_eq!(small.encoding, None);
            let large = compression.compress(text(1000), Some(encoding), 100).await;
            assert_eq!(large.encoding, Some(encoding));
            let raised = compression.compress(text(1000), Some(encoding), 2000).await;
            assert_eq!((raised.encoding, raised.bytes), (None, text(1000)));
            let noise: Vec<u8> = (0..1000).map(|_| rand::random()).collect();
            let incompressible = compression.compress(noise.clone(), Some(encoding), 100).await;
            assert_eq!((incompressible.encoding, incompressible.bytes), (None, noise));
            // Also of nothing.
            let nothing = compression.compress(Vec::new(), Some(encoding), 0).await;
            assert_eq!(nothing.encoding, None);
        }
        assert_eq!(compression.compress(text(1000), None, 0).await.encoding, None);
    }

    #[test]
    fn the_client_is_answered_in_what_it_accepts() {
        let compression = Compression::new(Encoding::ALL.to_vec());
        let chosen = |sent: &str, accepted: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-encoding", HeaderValue::from_str(sent).unwrap());
            headers.insert("grpc-accept-encoding", HeaderValue::from_str(accepted).unwrap());
            compression.of_answer(&headers)
        };
        assert_eq!(
            chosen("identity", "identity, deflate, gzip"),
            Some(Encoding::Gzip)
        );
        assert_eq!(
            chosen("deflate", "identity,gzip,deflate,zstd"),
            Some(Encoding::Deflate)
        );
        assert_eq!(chosen("gzip", "zstd"), Some(Encoding::Zstd));
        assert_eq!(chosen("gzip", "identity"), None);
        assert_eq!(chosen("gzip", "br,,gzipped, snappy"), None);
        assert_eq!(compression.of_answer(&HeaderMap::new()), None);
        assert_eq!(compression.supported(), "identity,zstd,gzip,deflate");
    }

    #[test]
    fn an_encoding_that_is_turned_off_is_refused_by_name() {
        let compression = Compression::new(vec![Encoding::Gzip]);
        let mut headers = HeaderMap::new();
        assert_eq!(compression.of_request(&headers), Ok(None));
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        assert_eq!(compression.of_request(&headers), Ok(Some(Encoding::Gzip)));
        headers.insert("grpc-encoding", HeaderValue::from_static("zstd"));
        assert_eq!(
            compression.of_request(&headers),
            Err(Failure::UnsupportedEncoding {
                encoding: "zstd".into(),
                supported: "identity,gzip".into()
            })
        );
    }
}
