//! Components of plugins, as built and changed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a plugin as its author would for production.
pub(crate) fn build(plugin: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = target_folder().join("plugins");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "-p", plugin, "--target", "wasm32-wasip2"])
        .current_dir(root.join("plugins"))
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the plugin builds");
    target.join(format!("wasm32-wasip2/release/{plugin}.wasm"))
}

/// Where cargo builds.
pub(crate) fn target_folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    folder.expect("it is in the target folder").to_owned()
}

/// A component with `from` replaced by `to` wherever it stands, such as its package by another one, because a
/// service belongs to one plugin.
pub(crate) fn changed(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "nothing moves");
    let mut bytes = component.to_owned();
    let found: Vec<_> = memchr::memmem::find_iter(component, from).collect();
    assert!(!found.is_empty(), "the component has {from:?}");
    for at in found {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// The benchmark's plugin as a build that differs from others by its number.
pub(crate) fn variant(component: &[u8], number: usize) -> Vec<u8> {
    changed(component, "variant-0000000000000000", &variant_name(number))
}

/// What that build says of itself.
pub(crate) fn variant_name(number: usize) -> String {
    format!("variant-{number:016}")
}

/// Puts `component` in the place of what was there, whole or not at all.
pub(crate) fn replace(file: &Path, component: &[u8]) {
    let new = file.with_extension("new");
    std::fs::write(&new, component).expect("the folder is ours");
    std::fs::rename(new, file).expect("the folder is ours");
}
