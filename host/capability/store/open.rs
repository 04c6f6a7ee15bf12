use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::backend::ReadError;
use super::backend::redb::FORMAT_VERSION;

/// Why a store could not be opened. Each message says where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("data directory {0:?} is in use by another host: stop that host or choose another directory")]
    InUse(PathBuf),
    /// The operating system refused access.
    #[error(
        "no permission to use {path:?} ({cause}): it must be readable and writable by the user of this host"
    )]
    PermissionDenied {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Any other failure of the operating system.
    #[error("cannot use {path:?}: {cause}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The file is damaged or is not a store.
    #[error(
        "{path:?} is damaged or is not a Mortise store ({cause}): restore it from a backup, or move it away to \
         begin with an empty store"
    )]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The file was written by another version of the host.
    #[error(
        "{path:?} has store format {found}, but this host reads format {supported}: have a host that reads it \
         export each plugin's entries (mortise store export), and import them into a new store",
        supported = FORMAT_VERSION
    )]
    WrongVersion {
        /// The store's file.
        path: PathBuf,
        /// The format it has.
        found: u64,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            ErrorKind::PermissionDenied => Self::PermissionDenied { path, cause },
            _ => Self::Io { path, cause },
        }
    }

    pub(super) fn read(path: &Path, error: ReadError) -> Self {
        match error {
            ReadError::Failed(cause) => match cause.downcast::<io::Error>() {
                Ok(cause) => Self::io(path, *cause),
                Err(cause) => Self::corrupt(path, cause),
            },
            ReadError::Closed => Self::corrupt(path, error),
        }
    }

    pub(super) fn corrupt(path: &Path, cause: impl ToString) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            cause: cause.to_string(),
        }
    }
}

/// A database reports the damage that a crash can do. Other damage may make it panic.
pub(super) fn unpanicked<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(OpenError::corrupt(path, "its structure is not valid")))
}
