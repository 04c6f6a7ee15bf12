//! What a plugin may ask of the host, one folder per capability. The code here does not know WebAssembly: the
//! bindings translate a guest's imports into these calls. Nor does it know gRPC, but for `upstream`, which
//! speaks it.

pub mod caller;
mod directory;
mod error;
mod namespace;

pub mod events;
pub mod limits;
pub mod store;
pub mod timers;
pub mod upstream;

pub use error::{Error, ErrorKind};
pub use namespace::{InvalidNamespace, Namespace};
