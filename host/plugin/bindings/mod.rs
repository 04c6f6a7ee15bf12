//! The contract, one file per released version. Each translates a guest's imports into the host's
//! capabilities and nothing else.

pub mod v0_1;
