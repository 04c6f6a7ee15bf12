//! Mortise: a gRPC host whose business logic is hot-swappable, sandboxed WebAssembly.

pub mod cli;
pub mod config;
