//! What a plugin may ask of the host, one folder per capability. The code here knows neither WebAssembly nor
//! gRPC: the bindings translate a guest's imports into these calls.

mod directory;
mod error;
mod namespace;

pub mod events;
pub mod limits;
pub mod store;

pub use error::{Error, ErrorKind};
pub use namespace::{InvalidNamespace, Namespace};
