//! The socket's file: there for the host's user alone, and only while the host is.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Type};
use tokio::net::UnixListener;

const FILE: &str = "admin.sock";

/// Few clients connect at once.
const BACKLOG: i32 = 16;

/// The longest path that a socket's address has room for, its end included (unix(7)).
const MAX_PATH_BYTES: usize = 108;

/// Where the socket of the host with this data folder is.
pub fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// Removes the file when it is dropped.
pub(super) struct Socket(PathBuf);

impl Socket {
    /// Makes the file in `data`. One that is there was left by a host that crashed: whoever calls this holds the
    /// lock of the folder.
    pub(super) fn bind(data: &Path) -> io::Result<(Self, UnixListener)> {
        let path = path(data);
        let about = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if path.as_os_str().len() >= MAX_PATH_BYTES {
            let text = format!(
                "{}: the path is longer than the system allows, {} bytes: choose a shorter data folder",
                path.display(),
                MAX_PATH_BYTES - 1
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        remove(&path).map_err(about)?;
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // Linux gives the file the mode of the socket, so that it is never open to others, whatever the mode of
        // the folder and the umask. Where a system does not, the folder's mode protects it until the next line.
        rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
        socket.bind(&SockAddr::unix(&path)?).map_err(about)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(about)?;
        socket.listen(BACKLOG).map_err(about)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok((Self(path), listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::debug!(%error, "the administration's socket was not removed");
        }
    }
}

/// Removes a socket, and nothing else.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is something else than a socket",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_its_users_alone_and_goes_with_the_host() {
        let data = tempfile::tempdir().expect("a folder");
        let path = path(data.path());
        let (socket, listener) = Socket::bind(data.path()).expect("free");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A crash leaves the file.
        drop(listener);
        std::mem::forget(socket);
        let (socket, _listener) = Socket::bind(data.path()).expect("the old one makes way");
        tokio::net::UnixStream::connect(&path).await.expect("listening");
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn other_files_stay() {
        let data = tempfile::tempdir().expect("a folder");
        std::fs::write(path(data.path()), "mine").expect("written");
        assert!(Socket::bind(data.path()).is_err());
        assert_eq!(std::fs::read(path(data.path())).expect("there"), b"mine");
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_said_to_be() {
        let data = Path::new("/").join("x".repeat(100));
        let error = Socket::bind(&data).err().expect("too long");
        assert!(error.to_string().contains("shorter data folder"), "{error}");
    }
}
