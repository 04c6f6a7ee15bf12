//! Mortise runs business logic written as WebAssembly components behind gRPC.

pub mod capability;
