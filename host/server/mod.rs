//! The listener and everything between a connection and `dispatch.rs`.

pub(crate) mod compression;
mod connection;
mod cors;
mod drain;
pub(crate) mod framing;
mod grpc_web;
mod health;
mod http1;
mod listener;
mod metrics;
mod reflection;
mod service;
mod stream;
mod tls;

pub use compression::{Compression, Encoding};
pub use connection::{ServerOptions, serve};
pub use cors::Origins;
pub use health::Health;
pub use listener::{ListenError, Listener};
pub use metrics::ConnectionMetrics;
pub use tls::{Tls, TlsError, TlsFile, TlsFiles};
