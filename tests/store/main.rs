//! The plugins' state, its events and their delivery, through the public surface and without wasm.
#![allow(clippy::unwrap_used)]

mod anomalies;
mod commits;
mod consumer;
mod crash;
mod crash_calls;
mod delivery;
mod failures;
mod model;
mod opening;
mod subscriptions;
mod support;
mod timers;
mod transactions;
