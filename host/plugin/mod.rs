//! Plugins as wasm: from a file to a sandbox that can serve one call.

pub mod artifact;
pub mod background;
pub mod bindings;
pub mod cache;
pub mod compiled;
pub mod compiler;
pub mod description;
pub(crate) mod descriptors;
pub mod engine;
pub mod flat;
mod functions;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod instance;
pub mod limits;
pub mod pool;
pub mod processor;
pub mod state;
pub mod stdio;
pub mod under_test;
