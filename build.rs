//! Prepares what the sources include.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    // Set by fuzz/instrument.sh.
    println!("cargo:rustc-check-cfg=cfg(fuzzing)");
    // For benchmarks to say what they measured.
    println!(
        "cargo:rustc-env=MORTISE_OPT_LEVEL={}",
        std::env::var("OPT_LEVEL")?
    );
    embed_sdk()?;
    generate_health()?;
    generate_admin()?;
    generate_test_clients()
}

/// Writes `grpc.health.v1.rs`, and its descriptors for reflection as `health.binpb`.
fn generate_health() -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(["grpc/health/v1/health.proto"], ["proto"])?;
    let encoded = Path::new(&std::env::var("OUT_DIR")?).join("health.binpb");
    fs::write(encoded, descriptors.encode_to_vec())?;
    // The host serves it itself.
    let messages_and_client = tonic_prost_build::configure().build_server(false);
    Ok(messages_and_client.compile_fds(descriptors)?)
}

/// Writes `mortise.admin.v1.rs`, and its descriptors as `admin.binpb`.
fn generate_admin() -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(
        ["mortise/admin/v1/admin.proto", "mortise/admin/v1/store.proto"],
        ["proto"],
    )?;
    let encoded = Path::new(&std::env::var("OUT_DIR")?).join("admin.binpb");
    fs::write(encoded, descriptors.encode_to_vec())?;
    Ok(tonic_prost_build::configure().compile_fds(descriptors)?)
}

/// Writes `order.v1.rs`, `tally.v1.rs`, `faults.v1.rs`, `caller.v1.rs`, `bench.v1.rs` and `compute.v1.rs`: what
/// tests and benches call the plugins with, and what plugins call.
fn generate_test_clients() -> Result<(), Box<dyn Error>> {
    const FOLDERS: [&str; 7] = [
        "proto",
        "guest-sdk/codegen/proto",
        "plugins/faults/proto",
        "plugins/caller/proto",
        "plugins/bench/proto",
        "plugins/compute/proto",
        "plugins/tally/proto",
    ];
    const PROTOS: [&str; 7] = [
        "order/v1/order.proto",
        "tally/v1/tally.proto",
        "faults/v1/faults.proto",
        "caller/v1/caller.proto",
        "caller/v1/backend.proto",
        "bench/v1/bench.proto",
        "compute/v1/compute.proto",
    ];
    for folder in FOLDERS {
        println!("cargo:rerun-if-changed={folder}");
    }
    let descriptors = protox::compile(PROTOS, FOLDERS)?;
    Ok(tonic_prost_build::configure().compile_fds(descriptors)?)
}

/// Writes `sdk.rs`: the guest SDK's sources as a list of paths and texts, for `mortise new` to hand out. Its
/// tests stay here.
fn embed_sdk() -> Result<(), Box<dyn Error>> {
    const CRATES: [&str; 3] = ["guest-sdk", "guest-sdk/macros", "guest-sdk/codegen"];
    println!("cargo:rerun-if-changed=guest-sdk");
    println!("cargo:rerun-if-changed=Cargo.toml");

    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let mut files = Vec::new();
    for package in CRATES {
        let folder = root.join(package);
        for entry in ["Cargo.toml", "README.md", "build.rs", "proto", "src", "wit"] {
            collect(&folder.join(entry), &mut files)?;
        }
    }
    files.sort();

    let manifest = format!(
        "members = {CRATES:?}\nresolver = \"3\"\n\n{}",
        shared_manifest(&root)?
    );
    let mut code = format!(
        "&[\n    (\"Cargo.toml\", {:?}),\n",
        format!("[workspace]\n{manifest}")
    );
    for file in files {
        let name = file
            .strip_prefix(&root)?
            .to_str()
            .ok_or("a file of the SDK is not named in UTF-8")?;
        writeln!(code, "    ({name:?}, include_str!({file:?})),")?;
    }
    code.push(']');
    fs::write(Path::new(&std::env::var("OUT_DIR")?).join("sdk.rs"), code)?;
    Ok(())
}

/// Adds `path`, or the files below it, if it exists.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    if path.is_file() {
        files.push(path.to_owned());
    } else if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    }
    Ok(())
}

/// The parts of the root manifest that the SDK's manifests inherit from.
fn shared_manifest(root: &Path) -> Result<String, Box<dyn Error>> {
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let mut shared = String::new();
    let mut inherited = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inherited = line.starts_with("[workspace.");
        }
        if inherited {
            writeln!(shared, "{line}")?;
        }
    }
    Ok(shared)
}
