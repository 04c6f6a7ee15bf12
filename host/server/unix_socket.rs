//! A Unix-domain socket that is listened on.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Who may listen at a path, and with which permissions.
#[derive(Debug, Clone)]
pub struct UnixSocketOptions {
    /// Where it is to be.
    pub path: PathBuf,
    /// Its mode: who may write may connect.
    pub mode: u32,
}

/// Why the path could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum UnixSocketError {
    /// Another process has it.
    #[error("{0} is in use: stop the process that listens there, or choose another server.unix_socket")]
    InUse(PathBuf),
    /// Something else has this name.
    #[error("{0} is there and is no socket: remove it, or choose another server.unix_socket")]
    NotASocket(PathBuf),
    /// Any other reason.
    #[error("cannot listen on {path}: {error}")]
    Other {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
}

/// A socket with a path of its own, which is removed when it is dropped.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Of the socket, so that no other is removed in its place.
    inode: u64,
    /// Held for as long as the path is ours: what another host left there may only be removed by one.
    _lock: File,
}

impl UnixSocket {
    /// Binds the path with its final mode. A socket that nobody listens on, as a crash leaves it, is replaced.
    pub(super) fn bind(options: &UnixSocketOptions) -> Result<Self, UnixSocketError> {
        let path = &options.path;
        let other = |error| UnixSocketError::Other {
            path: path.clone(),
            error,
        };
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(beside(path, ".lock"))
            .map_err(other)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(UnixSocketError::InUse(path.clone())),
            Err(fs::TryLockError::Error(error)) => return Err(other(error)),
        }
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(UnixSocketError::NotASocket(path.clone()));
            }
            Ok(_) if is_listened_on(path) => return Err(UnixSocketError::InUse(path.clone())),
            _ => {}
        }
        // A socket is made with whatever mode the umask leaves. It gets its name when it has its own.
        let unnamed = beside(path, ".new");
        remove(&unnamed).map_err(other)?;
        let listener = UnixListener::bind(&unnamed).map_err(other)?;
        let named = fs::set_permissions(&unnamed, fs::Permissions::from_mode(options.mode))
            .and_then(|()| fs::symlink_metadata(&unnamed))
            .and_then(|metadata| fs::rename(&unnamed, path).map(|()| metadata.ino()));
        let inode = named.map_err(|error| {
            // Another try begins by removing it.
            let _ = fs::remove_file(&unnamed);
            other(error)
        })?;
        Ok(Self {
            listener,
            path: path.clone(),
            inode,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            // One that stays is replaced by the next host.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether somebody would answer. If that cannot be told, say for want of permission, somebody may.
fn is_listened_on(path: &Path) -> bool {
    match UnixStream::connect(path) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::ConnectionRefused,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
