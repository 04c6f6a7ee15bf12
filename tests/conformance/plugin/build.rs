//! Takes the protos from the folder in `CONFORMANCE_PROTOS`, which `run.sh` sets, without the methods that stream.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

const SERVICE: &str = "connectrpc/conformance/v1/service.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=CONFORMANCE_PROTOS");
    let protos = env::var_os("CONFORMANCE_PROTOS").ok_or("CONFORMANCE_PROTOS is not set: use run.sh")?;
    let protos = PathBuf::from(protos);
    let unary = PathBuf::from(env::var_os("OUT_DIR").ok_or("not run by cargo")?).join("unary");
    let copy = unary.join(SERVICE);
    fs::create_dir_all(copy.parent().ok_or("the path has folders")?)?;
    let service = fs::read_to_string(protos.join(SERVICE))?;
    let service: String = service
        .lines()
        .filter(|line| !(line.trim_start().starts_with("rpc ") && line.contains("(stream ")))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(copy, service)?;
    mortise_guest_codegen::Builder::new()
        .include(unary)
        .include(protos)
        .proto(SERVICE)
        .build()?;
    Ok(())
}
