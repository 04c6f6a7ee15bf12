//! What every message begins with.

use bytes::Buf;

use super::super::compression::longest_compressed;
use crate::status::Failure;

/// A compression flag and a big-endian length (gRPC over HTTP/2, "Length-Prefixed-Message").
pub(super) const PREFIX: usize = 5;

/// What a client announces of a message.
#[derive(Clone, Copy)]
pub(super) struct Prefix {
    pub(super) compressed: bool,
    length: usize,
}

impl Prefix {
    /// The prefix at the beginning of `bytes`; none if it has not arrived in full. Messages may be compressed if they
    /// are `encoded`, and have no more than `limit` bytes when they are not.
    ///
    /// # Errors
    /// If it is none, or the message would be over the limit.
    pub(super) fn read(bytes: &[u8], encoded: bool, limit: usize) -> Result<Option<Self>, Failure> {
        let Some(mut prefix) = bytes.get(..PREFIX) else {
            return Ok(None);
        };
        let compressed = match prefix.get_u8() {
            0 => false,
            1 if encoded => true,
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
        if compressed && length > longest_compressed(limit) {
            return Err(Failure::RequestTooLarge { size: None, limit });
        }
        if !compressed && length > limit {
            let size = Some(length);
            return Err(Failure::RequestTooLarge { size, limit });
        }
        Ok(Some(Self { compressed, length }))
    }

    /// Where the message ends that this one begins.
    pub(super) fn end(&self) -> usize {
        PREFIX + self.length
    }
}
