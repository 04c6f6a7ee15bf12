//! The plugins' state, its events and their delivery, through the public surface and without wasm.
#![allow(clippy::unwrap_used)]

mod agreement;
mod anomalies;
mod answers;
mod checkpoints;
mod commits;
mod conformance;
mod consumer;
mod crash;
mod crash_calls;
mod delivery;
// Tests of the host tell a disk less.
#[allow(dead_code)]
#[path = "../support/disk.rs"]
mod disk;
mod failures;
mod log;
mod long_reads;
mod model;
mod opening;
mod power;
mod quotas;
mod recovery;
mod relaxed;
mod subscriptions;
mod support;
mod timers;
mod tools;
mod transactions;
