//! A component file: read whole, named by its digest, and checked as far as that goes without compiling.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload};

use crate::observe::printable;

/// The contract this host speaks, and the package it is named by.
pub const CONTRACT_PACKAGE: &str = "mortise:plugin";
/// Versions of [`CONTRACT_PACKAGE`] that this host serves.
pub const CONTRACT_VERSIONS: &[&str] = &["0.1.0"];

/// What a component must export, without its version.
const HANDLER: &str = "mortise:plugin/handler";

/// Of what a component says, in the reason why it is refused.
const MAX_NAME_BYTES: usize = 128;
const MAX_REASON_BYTES: usize = 512;

/// SHA-256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }

    /// All 64 hex digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.short())
    }
}

/// A component that looks right from outside.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Where it was read from.
    pub path: PathBuf,
    /// What it is known by.
    pub digest: Digest,
    /// The contract version it exports.
    pub contract: String,
    /// Every import, as `package:name/interface@version`.
    pub imports: Vec<String>,
    /// The file, whole.
    pub bytes: Vec<u8>,
}

/// Why a file is not a plugin. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file could not be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// Refused by size before anything else is done with it.
    #[error(
        "{path} has {size} bytes, over the limit of {limit}; build it with optimisation and without debug \
         info, or raise max_component_bytes"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Not WebAssembly at all.
    #[error("{0} is not WebAssembly: give the .wasm file that `cargo build --target wasm32-wasip2` makes")]
    NotWasm(PathBuf),
    /// A module, not a component.
    #[error("{0} is a core module, not a component: build it with `cargo build --target wasm32-wasip2`")]
    CoreModule(PathBuf),
    /// Cut short or corrupt.
    #[error("{path} is damaged or incomplete: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser met.
        reason: String,
    },
    /// A component of some other world.
    #[error(
        "{path} is a component, but not a Mortise plugin: it does not export {HANDLER} (it exports {exports}); \
         write it with mortise-guest, or for the world `plugin` of {CONTRACT_PACKAGE}"
    )]
    OtherWorld {
        /// The file.
        path: PathBuf,
        /// What it exports instead.
        exports: String,
    },
    /// A contract version this host does not know.
    #[error(
        "{path} is written for version {version} of {CONTRACT_PACKAGE}; this host serves {}: build it with a \
         matching mortise-guest",
        CONTRACT_VERSIONS.join(", ")
    )]
    UnknownContract {
        /// The file.
        path: PathBuf,
        /// The version it wants.
        version: String,
    },
}

impl Artifact {
    /// Reads and checks a file of at most `max_bytes`.
    pub fn read(path: &Path, max_bytes: u64) -> Result<Self, ArtifactError> {
        let unreadable = |error| ArtifactError::Unreadable {
            path: path.to_owned(),
            error,
        };
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        // A pipe would keep us waiting, and a device may have no end.
        if !metadata.is_file() {
            return Err(unreadable(std::io::Error::other("it is not a file")));
        }
        let too_large = |size| ArtifactError::TooLarge {
            path: path.to_owned(),
            size,
            limit: max_bytes,
        };
        if metadata.len() > max_bytes {
            return Err(too_large(metadata.len()));
        }
        // It may grow meanwhile.
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes))
            .map_err(unreadable)?;
        if bytes.len() as u64 > max_bytes {
            return Err(too_large(bytes.len() as u64));
        }
        Self::from_bytes(path, bytes)
    }

    /// Checks bytes that came from `path`.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, ArtifactError> {
        let outline = Outline::parse(path, &bytes)?;
        let contract = outline.contract(path)?;
        Ok(Self {
            path: path.to_owned(),
            digest: Digest::of(&bytes),
            contract,
            imports: outline.imports,
            bytes,
        })
    }
}

/// The names at a component's outermost level.
struct Outline {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Outline {
    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ArtifactError> {
        let malformed = |reason: String| ArtifactError::Malformed {
            path: path.to_owned(),
            reason: printable(&reason, MAX_REASON_BYTES),
        };
        if !bytes.starts_with(b"\0asm") {
            return Err(match bytes {
                [] => malformed("the file is empty".into()),
                _ if b"\0asm".starts_with(bytes) => malformed("the file ends within its first bytes".into()),
                _ => ArtifactError::NotWasm(path.to_owned()),
            });
        }
        let mut outline = Self {
            imports: Vec::new(),
            exports: Vec::new(),
        };
        let mut depth = 0u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(|error| malformed(error.to_string()))? {
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } if depth == 0 => {
                    return Err(ArtifactError::CoreModule(path.to_owned()));
                }
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        let import = import.map_err(|error| malformed(error.to_string()))?;
                        // A type by itself reaches nothing.
                        if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                            outline.imports.push(import.name.name.to_owned());
                        }
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        let export = export.map_err(|error| malformed(error.to_string()))?;
                        outline.exports.push(export.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(outline)
    }

    fn contract(&self, path: &Path) -> Result<String, ArtifactError> {
        let version = self
            .exports
            .iter()
            .find_map(|export| export.strip_prefix(HANDLER)?.strip_prefix('@'))
            .ok_or_else(|| ArtifactError::OtherWorld {
                path: path.to_owned(),
                exports: match self.exports.as_slice() {
                    [] => "nothing".to_owned(),
                    exports => {
                        let names = exports.iter().take(8).map(|name| printable(name, MAX_NAME_BYTES));
                        names.collect::<Vec<_>>().join(", ")
                    }
                },
            })?;
        if !CONTRACT_VERSIONS.contains(&version) {
            return Err(ArtifactError::UnknownContract {
                path: path.to_owned(),
                version: printable(version, MAX_NAME_BYTES),
            });
        }
        Ok(version.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) -> String {
        Artifact::from_bytes(Path::new("p.wasm"), bytes.to_vec())
            .expect_err("refused")
            .to_string()
    }

    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn what_is_no_plugin_is_named() {
        assert!(check(b"").contains("empty"));
        assert!(check(b"\0as").contains("incomplete"));
        assert!(check(b"#!/bin/sh").contains("not WebAssembly"));
        assert!(check(b"\0asm\x01\0\0\0").contains("core module"));
        assert!(check(EMPTY_COMPONENT).contains("does not export mortise:plugin/handler"));
        let mut cut = EMPTY_COMPONENT.to_vec();
        cut.extend([11, 200, 1]);
        assert!(check(&cut).contains("damaged or incomplete"));
    }

    #[test]
    fn what_a_component_says_of_itself_is_shown_on_one_line() {
        let mut component = EMPTY_COMPONENT.to_vec();
        // A section of exports with one, of an instance.
        component.extend(b"\x0b\x0c\x01\0\x06a\n\x1b[2J\x05\0\0");
        let refusal = check(&component);
        assert!(refusal.contains("(it exports a\\n\\u{1b}[2J)"), "{refusal}");
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        for path in ["/dev/zero", "/"] {
            let error = Artifact::read(Path::new(path), 99).expect_err("it has no end");
            assert!(matches!(error, ArtifactError::Unreadable { .. }), "{error}");
        }
    }

    #[test]
    fn size_is_refused_before_reading() {
        let file = tempfile::NamedTempFile::new().expect("temp file");
        std::fs::write(file.path(), [0; 100]).expect("write");
        let error = Artifact::read(file.path(), 99).expect_err("too large");
        assert!(matches!(
            error,
            ArtifactError::TooLarge {
                size: 100,
                limit: 99,
                ..
            }
        ));
    }
}
