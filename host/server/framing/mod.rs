//! gRPC messages on the wire: one length-prefixed message in and one out, or any number of them for the host's own
//! services that stream.
//!
//! tonic's own decoder would serve, but answers some protocol errors with other codes than the gRPC
//! documents ask for (no message or two on a unary call: UNIMPLEMENTED; over the size limit:
//! RESOURCE_EXHAUSTED), and its response type merges initial metadata of a failed call into the trailers.

mod answer;
mod answers;
mod memory;
mod prefix;
mod request;
mod requests;

pub(crate) use answer::{Response, failed, ok};
pub(crate) use answers::stream;
pub(crate) use memory::Held;
pub use memory::RequestMemory;
pub use request::RequestBounds;
pub(crate) use request::read_unary;
pub(crate) use requests::Requests;
