//! Messages and services of the plugins that are called, and the code that plugins and native servers share.

#[allow(missing_docs, unreachable_pub, dead_code, clippy::all)]
mod bench {
    include!(concat!(env!("OUT_DIR"), "/bench.v1.rs"));
}

#[allow(missing_docs, unreachable_pub, dead_code, clippy::all)]
mod compute {
    include!(concat!(env!("OUT_DIR"), "/compute.v1.rs"));
}

pub(crate) use bench::*;
pub(crate) use compute::*;
