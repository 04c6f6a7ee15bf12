//! Metadata in both directions: what a guest may see of the request's, and what it may put on the answer's.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::status::Failure;

/// HTTP's and gRPC's own headers, which are no metadata: hidden from guests on the way in, refused on the
/// way out. Everything that starts with `grpc-` is reserved by the gRPC protocol besides these.
const TRANSPORT_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "host",
    "keep-alive",
    "proxy-connection",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// gRPC headers a guest may read all the same: they carry application context.
const READABLE_GRPC_HEADERS: &[&str] = &["grpc-trace-bin", "grpc-tags-bin"];

/// `user-agent` may be read, as grpc-go and grpc-java allow, but not set.
fn is_readable(key: &str) -> bool {
    if key == "user-agent" || READABLE_GRPC_HEADERS.contains(&key) {
        return true;
    }
    !key.starts_with("grpc-") && !TRANSPORT_HEADERS.contains(&key)
}

fn is_binary(key: &str) -> bool {
    key.ends_with("-bin")
}

/// Refuses a request whose header list is over `limit`, counted as HTTP/2 counts it: with its pseudo-headers,
/// and 32 bytes for each entry (RFC 9113, section 6.5.2).
pub fn check_size(head: &Parts, limit: usize) -> Result<(), Failure> {
    let uri = &head.uri;
    let pseudo = [
        (":method", head.method.as_str()),
        (":scheme", uri.scheme_str().unwrap_or_default()),
        (
            ":authority",
            uri.authority().map_or("", |authority| authority.as_str()),
        ),
        (":path", uri.path_and_query().map_or("", |path| path.as_str())),
    ];
    let pseudo = pseudo.into_iter().map(|(name, value)| name.len() + value.len());
    let fields = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    let size: usize = pseudo.chain(fields).map(|bytes| bytes + 32).sum();
    if size > limit {
        return Err(Failure::MetadataTooLarge { size, limit });
    }
    Ok(())
}

/// Refuses more than `max_entries` values and `-bin` values that are not base64.
pub fn check_entries(headers: &HeaderMap, max_entries: usize) -> Result<(), Failure> {
    if headers.len() > max_entries {
        return Err(Failure::TooMuchMetadata { limit: max_entries });
    }
    let mut entries = headers.len();
    for (key, value) in headers {
        if is_binary(key.as_str()) {
            let Some(values) = decode_binary(value) else {
                let key = key.as_str().chars().take(128).collect();
                return Err(Failure::MalformedBinaryMetadata { key });
            };
            // A guest gets each of them with a key of its own.
            entries += values.len() - 1;
        }
    }
    if entries > max_entries {
        return Err(Failure::TooMuchMetadata { limit: max_entries });
    }
    Ok(())
}

/// Request metadata, decoded only as far as a guest asks.
#[derive(Debug, Default)]
pub struct RequestMetadata {
    headers: HeaderMap,
    /// What the host keeps to itself.
    withheld: Option<HeaderName>,
}

impl RequestMetadata {
    /// The metadata of a request.
    ///
    /// # Errors
    /// As of [`check_entries`].
    pub fn new(headers: HeaderMap, max_entries: usize) -> Result<Self, Failure> {
        check_entries(&headers, max_entries)?;
        Ok(Self {
            headers,
            withheld: None,
        })
    }

    /// Of a call that the host makes.
    pub fn of_host(headers: HeaderMap) -> Self {
        Self {
            headers,
            withheld: None,
        }
    }

    /// Hides a header from guests. It can still be sent on.
    pub fn withholding(self, header: Option<HeaderName>) -> Self {
        Self {
            withheld: header,
            ..self
        }
    }

    fn shows(&self, key: &str) -> bool {
        is_readable(key) && self.withheld.as_ref().is_none_or(|withheld| withheld != key)
    }

    /// All values of `key`, in the order in which they came; binary ones decoded.
    pub fn get_all(&self, key: &str) -> Vec<Vec<u8>> {
        // Headers are found without regard to case, so what is hidden must be hidden without regard to it,
        // too.
        let Ok(name) = HeaderName::from_bytes(key.as_bytes()) else {
            return Vec::new();
        };
        if !self.shows(name.as_str()) {
            return Vec::new();
        }
        let binary = is_binary(name.as_str());
        let mut values = Vec::new();
        for value in self.headers.get_all(&name) {
            push_values(value, binary, |value| values.push(value));
        }
        values
    }

    /// Every entry a guest may read; values of one key keep their order.
    pub fn entries(&self) -> Vec<(String, Vec<u8>)> {
        let mut entries = Vec::with_capacity(self.headers.len());
        for (key, value) in &self.headers {
            if self.shows(key.as_str()) {
                push_values(value, is_binary(key.as_str()), |value| {
                    entries.push((key.as_str().to_owned(), value));
                });
            }
        }
        entries
    }

    /// All values of `key` as they came, for sending on.
    pub fn raw(&self, key: &str) -> impl Iterator<Item = &HeaderValue> {
        self.headers.get_all(key).iter()
    }

    /// The first value of a text key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.headers.get(key)?.to_str().ok()
    }
}

/// A `-bin` header may hold several values joined by commas (gRPC over HTTP/2, "Custom-Metadata"). Any other
/// is printable ASCII; one that is not, which HTTP allows, is no metadata.
fn push_values(value: &HeaderValue, binary: bool, mut push: impl FnMut(Vec<u8>)) {
    if !binary {
        if is_text(value.as_bytes()) {
            push(value.as_bytes().to_vec());
        }
        return;
    }
    for value in decode_binary(value).unwrap_or_default() {
        push(value);
    }
}

fn decode_binary(value: &HeaderValue) -> Option<Vec<Vec<u8>>> {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(|part| {
            let part = part.trim_ascii();
            if part.ends_with(b"=") {
                STANDARD.decode(part)
            } else {
                STANDARD_NO_PAD.decode(part)
            }
            .ok()
        })
        .collect()
}

/// Bounds on the metadata of one answer, initial and trailing together.
#[derive(Debug, Clone, Copy)]
pub struct MetadataLimits {
    /// As HTTP/2 counts a header list: name, value and 32 bytes each (RFC 9113, section 6.5.2).
    pub max_bytes: usize,
    /// Entries.
    pub max_entries: usize,
}

/// Why an entry was refused. The text is for the guest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MetadataError {
    /// Reserved for the transport.
    #[error("metadata key {0:?} is reserved for the transport")]
    Reserved(String),
    /// Not a valid key.
    #[error("metadata key {0:?} is not valid: use lower-case letters, digits, '-', '_' and '.'")]
    InvalidKey(String),
    /// Not a valid value.
    #[error("the value of metadata key {0:?} is not printable ASCII: use a key that ends in -bin for bytes")]
    InvalidValue(String),
    /// Too many bytes.
    #[error("the metadata is over the limit of {0} bytes")]
    TooLarge(usize),
    /// Too many entries.
    #[error("the metadata is over the limit of {0} entries")]
    TooMany(usize),
}

/// Initial and trailing metadata that a guest has set on its answer so far.
#[derive(Debug, Default)]
pub struct AnswerMetadata {
    /// Sent with the response headers.
    pub initial: HeaderMap,
    /// Sent with the trailers.
    pub trailing: HeaderMap,
    bytes: usize,
}

/// Which part of the answer an entry goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// With the response headers.
    Initial,
    /// With the trailers.
    Trailing,
}

impl AnswerMetadata {
    /// What an earlier call's handler had set.
    pub fn recorded(initial: HeaderMap, trailing: HeaderMap) -> Self {
        let size = |map: &HeaderMap| -> usize {
            let fields = map.iter();
            fields
                .map(|(name, value)| name.as_str().len() + value.len() + 32)
                .sum()
        };
        Self {
            bytes: size(&initial) + size(&trailing),
            initial,
            trailing,
        }
    }

    /// Adds an entry; duplicates are kept in order.
    pub fn add(
        &mut self,
        part: Part,
        key: &str,
        value: &[u8],
        limits: &MetadataLimits,
    ) -> Result<(), MetadataError> {
        let (name, value) = to_header(key, value)?;
        if self.initial.len() + self.trailing.len() >= limits.max_entries {
            return Err(MetadataError::TooMany(limits.max_entries));
        }
        let bytes = self.bytes + name.as_str().len() + value.len() + 32;
        if bytes > limits.max_bytes {
            return Err(MetadataError::TooLarge(limits.max_bytes));
        }
        self.bytes = bytes;
        let map = match part {
            Part::Initial => &mut self.initial,
            Part::Trailing => &mut self.trailing,
        };
        map.append(name, value);
        Ok(())
    }

    /// As HTTP/2 counts a header list.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// An entry that a guest wants to send, as a header.
///
/// # Errors
/// If the key is reserved or not valid, or the value is not.
pub fn to_header(key: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue), MetadataError> {
    Ok((check_key(key)?, encode_value(key, value)?))
}

/// Whether `key` may be sent as metadata.
///
/// # Errors
/// If it is reserved or not valid.
pub fn check_key(key: &str) -> Result<HeaderName, MetadataError> {
    let shown = || key.chars().take(64).collect::<String>();
    if key.starts_with("grpc-") || key.starts_with(':') || TRANSPORT_HEADERS.contains(&key) {
        return Err(MetadataError::Reserved(shown()));
    }
    let valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if key.is_empty() || !key.bytes().all(valid) {
        return Err(MetadataError::InvalidKey(shown()));
    }
    HeaderName::from_bytes(key.as_bytes()).map_err(|_| MetadataError::InvalidKey(shown()))
}

fn encode_value(key: &str, value: &[u8]) -> Result<HeaderValue, MetadataError> {
    let invalid = || MetadataError::InvalidValue(key.chars().take(64).collect());
    if is_binary(key) {
        // Unpadded, as the gRPC protocol asks of senders.
        return HeaderValue::from_str(&STANDARD_NO_PAD.encode(value)).map_err(|_| invalid());
    }
    if !is_text(value) {
        return Err(invalid());
    }
    // HTTP/2 forbids white space around a value (RFC 9113, section 8.2.1), and gRPC lets a sender strip it.
    HeaderValue::from_bytes(value.trim_ascii()).map_err(|_| invalid())
}

/// The gRPC protocol's "ASCII-Value".
fn is_text(value: &[u8]) -> bool {
    value.iter().all(|byte| (0x20..=0x7e).contains(byte))
}

#[cfg(test)]
mod tests;
