//! The listener and everything between a connection and `dispatch.rs`.

mod drain;
pub(crate) mod framing;
mod health;
mod listener;
mod reflection;
mod service;

pub use health::Health;
pub use listener::{ListenError, Listener, Peer};
pub use service::{ServerOptions, serve};
