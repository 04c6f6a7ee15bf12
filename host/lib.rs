//! Mortise: a gRPC host whose business logic is hot-swappable, sandboxed WebAssembly.
//!
//! `dispatch.rs` holds one call from its headers to its answer; `ARCHITECTURE.md` lists the files in reading
//! order.

pub mod admin;
pub mod admission;
pub mod app;
pub mod auth;
pub mod capability;
pub mod cli;
pub mod commit;
pub mod config;
pub mod contention;
pub mod deadline;
pub mod dispatch;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod generations;
pub mod idempotency;
pub mod metadata;
pub mod observe;
pub mod plugin;
pub mod policy;
pub mod router;
pub mod server;
pub mod service_manager;
pub mod shutdown;
pub mod status;
pub mod turns;
