//! Takes the protos from the folder in `CONFORMANCE_PROTOS`, which `run.sh` sets.

use std::env;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=CONFORMANCE_PROTOS");
    let protos = env::var_os("CONFORMANCE_PROTOS").ok_or("CONFORMANCE_PROTOS is not set: use run.sh")?;
    let files = protox::compile(["connectrpc/conformance/v1/server_compat.proto"], [protos])?;
    prost_build::Config::new()
        .include_file("protos.rs")
        .compile_fds(files)?;
    Ok(())
}
