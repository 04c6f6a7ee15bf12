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
mod tests;
