#![doc = include_str!("docs/crate.md")]

#[doc(hidden)]
pub mod bindings;
mod call;
mod config;
pub mod details;
mod event;
mod export;
mod host;
mod limits;
mod log;
mod metadata;
mod panic;
pub mod plugin;
mod status;
pub mod store;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod text;
mod timers;
pub mod upstream;

pub use call::{Call, Principal, ReadCall, TraceContext};
pub use config::{Config, ConfigKey, ConfigKind, ConfigValue};
pub use event::Event;
pub use limits::{Decision, Rate, RateError};
pub use metadata::{AnswerMetadata, MetadataEntry, RequestMetadata};
pub use mortise_guest_macros::{Config, handlers, plugin};
pub use plugin::Plugin;
pub use prost;
pub use prost_types;
pub use status::{Code, Status};
pub use store::{Key, Scan};
pub use timers::{Method, TimerId};
pub use upstream::Upstream;

/// Includes what `mortise-guest-codegen` made of a proto package: its messages and one trait for each of
/// its services.
///
/// ```ignore (needs what a build script made)
/// mod pb {
///     mortise_guest::include_proto!("order.v1");
/// }
/// ```
///
/// Where packages refer to each other, include them all, each as a module: `include_proto!()`.
#[macro_export]
macro_rules! include_proto {
    ($package:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
    };
    () => {
        include!(concat!(env!("OUT_DIR"), "/mortise_protos.rs"));
    };
}

/// For the code that the macros write. Not for plugins: it may change in any release.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings;
    pub use crate::config::{get, parse};
    pub use crate::export::Exported;
    #[cfg(not(target_family = "wasm"))]
    pub use crate::testing::component::answer;
}
