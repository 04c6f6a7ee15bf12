//! The listener and everything between a connection and `dispatch.rs`.

mod activity;
mod answers;
pub(crate) mod compression;
mod connection;
mod cors;
mod ending;
mod frames;
pub(crate) mod framing;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod grpc_web;
mod guard;
pub(crate) mod health;
mod http1;
pub(crate) mod inline;
mod listener;
mod metrics;
mod misconduct;
mod own;
mod peer;
mod proxy;
mod reflection;
mod service;
mod stream;
mod tls;
mod unix_socket;
mod unread;

pub use compression::{Compression, Encoding};
pub use connection::{ServerOptions, serve};
pub use cors::Origins;
pub use frames::FrameBudgets;
pub use framing::{RequestBounds, RequestMemory};
pub use health::Health;
pub use listener::{ListenError, ListenOptions, Listener, Listening};
pub use metrics::ConnectionMetrics;
pub(crate) use peer::Client;
pub use peer::client_of;
pub use proxy::{InvalidTrustedProxy, Proxies, ProxyNaming, TrustedProxy};
pub use tls::{ClientAuth, Tls, TlsError, TlsFile, TlsFiles};
pub use unix_socket::{UnixSocketError, UnixSocketOptions};
