//! Mistakes as operators make them, and what they are told.

mod files;
mod plugins;
mod values;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::server::Encoding;

/// A folder with `mortise.toml` of `text`, and an empty `order.wasm`.
fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join("mortise.toml"), text).expect("it can be written");
    std::fs::write(folder.path().join("order.wasm"), "").expect("it can be written");
    folder
}

fn load(text: &str) -> Result<Config, ConfigErrors> {
    Config::load(
        Some(&folder(text).path().join("mortise.toml")),
        &Overrides::default(),
    )
}

fn loads(text: &str) -> Config {
    load(text).unwrap_or_else(|errors| panic!("refused:\n{errors}"))
}

/// The errors as the user reads them, without the folder.
fn refused(text: &str) -> Vec<String> {
    let folder = folder(text);
    let path = folder.path().join("mortise.toml");
    let errors = Config::load(Some(&path), &Overrides::default()).expect_err("this must be refused");
    let prefix = format!("{}/", folder.path().display());
    errors
        .iter()
        .map(|error| error.to_string().replace(&prefix, ""))
        .collect()
}

const PLUGIN: &str = "[plugins.order]\nfile = \"order.wasm\"\n";

fn with_plugin(text: &str) -> String {
    format!("{text}\n{PLUGIN}")
}
