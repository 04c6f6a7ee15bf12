//! What benchmarks share. None uses all of it.
#![allow(dead_code)]

pub(crate) mod components;
pub(crate) mod process;
pub(crate) mod server;
