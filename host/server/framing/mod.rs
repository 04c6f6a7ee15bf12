//! gRPC messages on the wire: one length-prefixed message in, one out.
//!
//! tonic's own decoder would serve, but answers some protocol errors with other codes than the gRPC
//! documents ask for (no message or two on a unary call: UNIMPLEMENTED; over the size limit:
//! RESOURCE_EXHAUSTED), and its response type merges initial metadata of a failed call into the trailers.

mod answer;
mod memory;
mod request;

pub(crate) use answer::{Response, failed, ok};
pub(crate) use memory::Held;
pub use memory::RequestMemory;
pub use request::RequestBounds;
pub(crate) use request::read_unary;

/// A compression flag and a big-endian length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;
