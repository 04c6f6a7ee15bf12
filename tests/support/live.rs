//! A component file that is replaced while a host serves it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A file in a folder of its own.
#[derive(Debug)]
pub(crate) struct LiveFile {
    folder: TempDir,
    pub(crate) path: PathBuf,
}

impl LiveFile {
    pub(crate) fn copy_of(component: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("live.wasm");
        fs::copy(component, &path).expect("the component was built");
        Self { folder, path }
    }

    /// As careful tools do it: no reader sees half a file.
    pub(crate) fn rename_over(&self, bytes: &[u8]) {
        let new = self.folder.path().join("new");
        fs::write(&new, bytes).expect("the folder is ours");
        fs::rename(new, &self.path).expect("the folder is ours");
    }

    /// As cargo does it: the file is made elsewhere, and gets a second name.
    pub(crate) fn link_over(&self, bytes: &[u8]) {
        let made = tempfile::NamedTempFile::new_in(self.folder.path()).expect("the folder is ours");
        let made = made.into_temp_path().keep().expect("the folder is ours");
        fs::write(&made, bytes).expect("the folder is ours");
        fs::remove_file(&self.path).expect("the folder is ours");
        fs::hard_link(&made, &self.path).expect("the folder is ours");
    }

    /// As compilers do it.
    pub(crate) fn write_in_place(&self, bytes: &[u8]) {
        fs::write(&self.path, bytes).expect("the folder is ours");
    }

    pub(crate) fn delete(&self) {
        fs::remove_file(&self.path).expect("the folder is ours");
    }
}

/// `bytes` with every `from` replaced by a `to` of the same length.
pub(crate) fn patched(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut patched = bytes.to_vec();
    let mut found = false;
    for at in 0..=bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            patched[at..at + to.len()].copy_from_slice(to.as_bytes());
            found = true;
        }
    }
    assert!(found, "no {from} in the component");
    patched
}
