//! The contract in Rust, generated from `wit/`. Plugins get it from here, so they carry no WIT of their own.
#![allow(
    missing_docs,
    unexpected_cfgs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    reason = "generated; the canonical ABI is made of raw pointers"
)]

macro_rules! contract {
    ($($more:tt)*) => {
        wit_bindgen::generate!({
            path: "wit/v0.1.0",
            world: "plugin",
            pub_export_macro: true,
            export_macro_name: "export_plugin",
            // The crate has no feature `std`, so the contract's errors do not become `std::error::Error`s, which
            // `?` would turn into UNKNOWN instead of the status that the host chose.
            std_feature,
            $($more)*
        });
    };
}

#[cfg(target_family = "wasm")]
contract!();

// Tests pass these values on to a component and from it.
#[cfg(not(target_family = "wasm"))]
contract!(additional_derives: [serde::Serialize, serde::Deserialize],);
