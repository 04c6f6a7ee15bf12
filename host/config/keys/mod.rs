//! The table of keys: the one source for reading, checking and defaulting the configuration and for its
//! reference and schema. To add a key, add a line to its section; `section.rs` says how one reads.

mod admin;
mod auth;
mod engine;
mod log;
mod method;
mod plugin;
mod server;
mod state;
mod subscription;
mod upstream;

pub use admin::Admin;
pub use auth::{Auth, Issuer};
pub use engine::{Cache, Compiler, Engine};
pub use log::{Log, LogFormat};
pub use method::Method;
pub use plugin::{Isolation, Linking, Plugin};
pub use server::Server;
pub use state::{Events, Idempotency, RateLimits, Store};
pub use subscription::{Subscription, Timers};
pub use upstream::Upstream;

use super::section::Section;

/// Every section, in the order of the reference.
pub(super) const SECTIONS: &[Section] = &[
    Server::SECTION,
    Store::SECTION,
    Idempotency::SECTION,
    Events::SECTION,
    Subscription::SECTION,
    Timers::SECTION,
    RateLimits::SECTION,
    Log::SECTION,
    Admin::SECTION,
    Cache::SECTION,
    Engine::SECTION,
    Plugin::SECTION,
    Upstream::SECTION,
    Auth::SECTION,
    Issuer::SECTION,
    Method::SECTION,
];
