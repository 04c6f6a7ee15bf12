//! Prepares what the sources include.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    generate_test_clients()
}

/// Writes `order.v1.rs` and `faults.v1.rs`: clients of the plugins that tests and benches call.
fn generate_test_clients() -> Result<(), Box<dyn Error>> {
    const FOLDERS: [&str; 2] = ["proto", "plugins/faults/proto"];
    const PROTOS: [&str; 2] = ["order/v1/order.proto", "faults/v1/faults.proto"];
    for folder in FOLDERS {
        println!("cargo:rerun-if-changed={folder}");
    }
    let descriptors = protox::compile(PROTOS, FOLDERS)?;
    Ok(tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(descriptors)?)
}
