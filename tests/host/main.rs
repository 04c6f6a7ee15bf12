//! The host as its clients and its operator see it: the real binary, real sockets, real plugins.

#[path = "../support/mod.rs"]
mod support;

mod abuse;
mod admin;
mod admission;
mod agreement;
mod auth;
mod cache;
mod cancellation;
mod compression;
mod crash;
mod deadlines;
mod dev;
mod drain;
mod fairness;
mod fault_matrix;
mod faults;
mod files;
mod grpc_web;
mod health;
mod held_commits;
mod idempotency;
mod isolation;
mod long_reads;
mod metadata;
mod metrics;
mod orders;
mod owed_calls;
mod own_services;
mod plugins;
mod programs;
mod protocol;
mod reflection;
mod sandbox;
mod service_manager;
mod shutdown;
mod sizes;
mod start;
mod statuses;
mod store;
mod subscriptions;
mod swap;
mod timers;
mod tls;
mod tracing;
mod transactions;
mod upstream;

/// As the sources of a plugin name it, of which one is compiled in here.
use support::pb::faults as pb;
