//! One host at a time in a data directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::capability::directory::create_private;

const LOCK: &str = "store.lock";

/// Keeps other processes out of a directory, until it is dropped or the process ends, however that ends.
pub(in crate::capability::store) struct DirectoryLock(File);

pub(super) enum LockError {
    /// Another process has the directory.
    InUse,
    /// What the system said, and of which file.
    Io(PathBuf, io::Error),
}

impl DirectoryLock {
    /// Locks `directory`, creating it if need be.
    pub(super) fn acquire(directory: &Path) -> Result<Self, LockError> {
        let failed = |error| LockError::Io(directory.to_owned(), error);
        create_private(directory).map_err(failed)?;
        let mode = fs::metadata(directory).map_err(failed)?.permissions().mode();
        if mode & 0o022 != 0 {
            tracing::warn!(
                ?directory,
                "other users may write in the data directory; make it private: chmod 700"
            );
        }
        let path = directory.join(LOCK);
        let file = match private_file().open(&path) {
            Ok(file) => file,
            Err(error) => return Err(LockError::Io(path, error)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse),
            Err(TryLockError::Error(error)) => Err(LockError::Io(path, error)),
        }
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing the file would not do: a child that this process is just starting has it open as well, for as
        // long as it has not become the other program.
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "the data directory's lock");
        }
    }
}

pub(super) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options
}
