//! Statuses that handlers answer with, and their way into trailers.

use prost::Message as _;
use tonic::Code;

/// A handler's own status.
#[derive(Debug, Clone, PartialEq)]
pub struct GuestStatus {
    /// Never OK.
    pub code: Code,
    /// As the handler wrote it.
    pub message: String,
    /// Messages of `google.rpc` and others.
    pub details: Vec<prost_types::Any>,
}

impl GuestStatus {
    /// The status as it is sent, in at most about `max_bytes` of trailers: stock clients refuse more than
    /// 8 KiB of metadata and would lose the whole answer. What does not fit is left out, details first,
    /// and the operator's log says so.
    pub fn within(self, max_bytes: usize) -> tonic::Status {
        let mut message = self.message;
        // Percent-encoding makes up to three bytes of one.
        if message.len() > max_bytes / 3 {
            let end = message.floor_char_boundary(max_bytes / 3);
            tracing::warn!(
                bytes = message.len(),
                "a status message was cut: it does not fit the metadata"
            );
            message.truncate(end);
        }
        if self.details.is_empty() {
            return tonic::Status::new(self.code, message);
        }
        let status = tonic_types::Status {
            code: self.code as i32,
            message,
            details: self.details,
        };
        // Measured first: a guest can make it megabytes, and this is a thread that serves others.
        let bytes = status.encoded_len();
        // Base64 makes four bytes of three.
        if bytes / 3 * 4 + encoded_bytes(&status.message) > max_bytes {
            tracing::warn!(
                bytes,
                "status details were left out: they do not fit the metadata"
            );
            return tonic::Status::new(self.code, status.message);
        }
        let details = status.encode_to_vec();
        tonic::Status::with_details(self.code, status.message, details.into())
    }
}

/// Percent-encoded, as tonic writes `grpc-message`: it also encodes spaces and some punctuation, which the
/// protocol would not ask for (gRPC over HTTP/2, "Status-Message").
pub(super) fn encoded_bytes(message: &str) -> usize {
    let plain = |byte: u8| matches!(byte, 0x21..=0x7e) && !b"\"#%<>`?{}".contains(&byte);
    message.bytes().map(|byte| if plain(byte) { 1 } else { 3 }).sum()
}
