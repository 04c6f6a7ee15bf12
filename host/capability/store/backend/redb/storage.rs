use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

use super::layout;
use super::open::open_error;
use crate::capability::store::open::OpenError;

/// How every store begins.
const MAGIC: &[u8; 8] = b"mortise\0";
/// How a database of redb begins; up to format 2 a store was nothing else.
const BARE_DATABASE: &[u8; 4] = b"redb";
const BARE_FORMAT: u64 = 2;
/// The magic and the format, in a page of their own.
const HEADER_BYTES: u64 = 4_096;
/// Where redb's part begins. What is between is the log.
const DATABASE_OFFSET: u64 = 4 << 20;

/// The room for the write-ahead log.
pub(super) const LOG_BYTES: u64 = DATABASE_OFFSET - HEADER_BYTES;

/// What a store is in: a file, or what behaves like one. First a page that says what it is, then the
/// write-ahead log, then the database.
///
/// The first failure of a write or an fsync is the last: what the disk holds is known only to who reads it
/// anew. So redb, which knows nothing of the log, cannot bring to the disk at its end what rests upon a write
/// that was lost.
#[derive(Debug)]
pub(super) struct Storage {
    backend: Box<dyn StorageBackend>,
    failed: AtomicBool,
}

/// The part that redb sees.
#[derive(Debug)]
pub(super) struct DatabasePart(Arc<Storage>);

/// The part that the write-ahead log is in.
#[derive(Debug, Clone)]
pub(super) struct LogPart(Arc<Storage>);

impl Storage {
    fn new(backend: Box<dyn StorageBackend>) -> Arc<Self> {
        Arc::new(Self {
            backend,
            failed: AtomicBool::new(false),
        })
    }

    /// Prepares an empty one. The log is written once, so that an fsync of a record later on brings its bytes
    /// to the disk and nothing else: where they are on it is known by then. That is twice as fast, and more.
    pub(super) fn create(backend: Box<dyn StorageBackend>) -> io::Result<Arc<Self>> {
        let storage = Self::new(backend);
        let mut beginning = vec![0; DATABASE_OFFSET as usize];
        beginning[..8].copy_from_slice(MAGIC);
        beginning[8..16].copy_from_slice(&layout::FORMAT_VERSION.to_le_bytes());
        storage.set_len(DATABASE_OFFSET)?;
        storage.write(0, &beginning)?;
        Ok(storage)
    }

    /// Refuses what is no store of this format.
    pub(super) fn open(path: &Path, backend: Box<dyn StorageBackend>) -> Result<Arc<Self>, OpenError> {
        let failed = |error: io::Error| open_error(path, error);
        let storage = Self::new(backend);
        let length = storage.backend.len().map_err(failed)?;
        let mut header = [0; 16];
        if length >= 16 {
            storage.backend.read(0, &mut header).map_err(failed)?;
        }
        let (magic, format) = header.split_at(8);
        let found = match magic {
            magic if magic == MAGIC => u64::from_le_bytes(format.try_into().unwrap_or_default()),
            magic if magic.starts_with(BARE_DATABASE) => BARE_FORMAT,
            _ => {
                return Err(OpenError::corrupt(path, "it does not begin as a store does"));
            }
        };
        if found != layout::FORMAT_VERSION {
            return Err(OpenError::WrongVersion {
                path: path.to_owned(),
                found,
            });
        }
        // redb would make a new database of nothing.
        if length <= DATABASE_OFFSET {
            return Err(OpenError::corrupt(path, "it was cut off"));
        }
        Ok(storage)
    }

    pub(super) fn database(self: &Arc<Self>) -> DatabasePart {
        DatabasePart(self.clone())
    }

    pub(super) fn log(self: &Arc<Self>) -> LogPart {
        LogPart(self.clone())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|| self.backend.write(offset, data))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(|| self.backend.set_len(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|| self.backend.sync_data())
    }

    fn change(&self, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(io::Error::other("an earlier write failed"));
        }
        change().inspect_err(|_| self.failed.store(true, Ordering::SeqCst))
    }
}

impl StorageBackend for DatabasePart {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.backend.len()?.saturating_sub(DATABASE_OFFSET))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.backend.read(DATABASE_OFFSET + offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(DATABASE_OFFSET + length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(DATABASE_OFFSET + offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.backend.close()
    }
}

impl LogPart {
    /// `offset` and the end of `out` are within [`LOG_BYTES`].
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.backend.read(HEADER_BYTES + offset, out)
    }

    pub(super) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(HEADER_BYTES + offset, data)
    }

    /// Brings all that was written to the disk.
    pub(super) fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
