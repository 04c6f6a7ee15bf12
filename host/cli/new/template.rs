//! The files of a new plugin.

use super::name::NewName;

/// Files of the repository's own smallest plugin, which its tests keep right, and a few that are only for a
/// plugin that stands alone. Paths and texts, with placeholders or with the smallest plugin's names.
const OWN: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("README.md", include_str!("template/README.md.in")),
    ("rustfmt.toml", include_str!("../../../rustfmt.toml")),
    (".gitignore", include_str!("template/gitignore.in")),
    (
        ".cargo/config.toml",
        include_str!("../../../plugins/.cargo/config.toml"),
    ),
];
const SHARED: [(&str, &str); 4] = [
    ("build.rs", include_str!("../../../plugins/minimal/build.rs")),
    ("src/lib.rs", include_str!("../../../plugins/minimal/src/lib.rs")),
    (
        "proto/greeter/v1/greeter.proto",
        include_str!("../../../plugins/minimal/proto/greeter/v1/greeter.proto"),
    ),
    (
        "tests/greeter.rs",
        include_str!("../../../plugins/minimal/tests/greeter.rs"),
    ),
];

/// The SDK's sources, as paths and texts: a workspace with the SDK's crates.
const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Where the SDK lies in a plugin.
const SDK_FOLDER: &str = "vendor/mortise";

/// Paths and texts of all files of a plugin called `name`.
pub(super) fn files(name: &NewName) -> Vec<(String, String)> {
    let own = OWN
        .iter()
        .map(|(path, text)| ((*path).to_owned(), fill_in(text, name)));
    let shared = SHARED
        .iter()
        .map(|(path, text)| (rename(path, name), rename(text, name)));
    let sdk = SDK
        .iter()
        .map(|(path, text)| (format!("{SDK_FOLDER}/{path}"), (*text).to_owned()));
    own.chain(shared).chain(sdk).collect()
}

fn fill_in(text: &str, name: &NewName) -> String {
    text.replace("@NAME@", name.as_str())
        .replace("@CRATE@", &name.identifier())
        .replace("@PACKAGE@", &name.identifier())
        .replace("@SERVICE@", &name.service())
}

/// Turns the smallest plugin's names into the new one's. In its prose, which stays, the names are in lower
/// case and stand alone.
fn rename(text: &str, name: &NewName) -> String {
    let package = name.identifier();
    text.replace("minimal::", &format!("{package}::"))
        .replace("greeter.v1", &format!("{package}.v1"))
        .replace("greeter/v1/greeter", &format!("{package}/v1/{package}"))
        .replace("tests/greeter", &format!("tests/{package}"))
        .replace("Greeter", &name.service())
}
