use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::View;
use crate::capability::directory;
use crate::capability::store::backend::redb::{self, CopyError};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is there already.
    #[error("{0:?} is there already: name a file that is not, so that no earlier backup is lost")]
    Exists(PathBuf),
    /// The system refused something.
    #[error("cannot write {path:?}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The store could not be read or the copy not written.
    #[error("the backup failed: {0}")]
    Store(String),
}

impl View {
    /// Writes this state, whatever it is kept in, to the new file `to`, mode 0600, which is a whole store by
    /// itself: put in the place of `store.redb` of a host that is stopped, it restores all of it. The file has its name only once it
    /// is whole and on the disk. Gives its size. Blocks for as long as it takes; calls go on meanwhile.
    ///
    /// # Errors
    /// If the file is there, or something cannot be read or written.
    pub fn back_up(&self, to: &Path) -> Result<u64, BackupError> {
        let failed = |cause| BackupError::Io {
            path: to.to_owned(),
            cause,
        };
        if to.try_exists().map_err(failed)? {
            return Err(BackupError::Exists(to.to_owned()));
        }
        let mut part = to.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let _left_by_a_crash = fs::remove_file(&part);
        let copied = redb::copy(&*self.snapshot.reader, &part).map_err(|error| match error {
            CopyError::Io(cause) => BackupError::Io {
                path: part.clone(),
                cause,
            },
            other => BackupError::Store(other.to_string()),
        });
        let result = copied.and_then(|()| {
            // Unlike a renaming, a link never replaces what came there meanwhile.
            match fs::hard_link(&part, to) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    Err(BackupError::Exists(to.to_owned()))
                }
                linked => linked.map_err(failed),
            }
        });
        let _only_the_name_matters = fs::remove_file(&part);
        result?;
        directory::sync(directory::parent(to)).map_err(failed)?;
        Ok(fs::metadata(to).map_err(failed)?.len())
    }
}
