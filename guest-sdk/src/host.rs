//! The seam between the SDK and the host that runs it: in WebAssembly the imports of the contract, natively
//! the fake host of [`testing`](crate::testing). Both sides have the same functions over the same types.

#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::imports::*;
#[cfg(target_family = "wasm")]
pub(crate) use wasm::*;

#[cfg(target_family = "wasm")]
mod wasm {
    pub(crate) use crate::bindings::mortise::plugin::{
        call, config, events, limits, log, store, timers, upstream,
    };

    pub(crate) mod clock {
        use std::time::SystemTime;

        pub(crate) fn now() -> SystemTime {
            SystemTime::now()
        }
    }

    pub(crate) mod random {
        pub(crate) fn fill(bytes: &mut [u8]) {
            getrandom::fill(bytes).expect("wasi:random cannot fail");
        }
    }
}
