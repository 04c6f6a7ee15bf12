use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageBackend,
};

use super::Options;
use super::answers::Answers;
use super::deferred::Levels;
use super::layout;
use super::lock::{DirectoryLock, LockError, private_file};
use super::outbox::Position;
use super::usage;
use super::writer::{State, Writer};
use crate::capability::directory::sync;

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
        "{path:?} has store format {found}, but this host reads format {supported}: use a host that reads it",
        supported = layout::FORMAT_VERSION
    )]
    WrongVersion {
        /// The store's file.
        path: PathBuf,
        /// The format it has.
        found: u64,
    },
}

impl OpenError {
    fn io(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            ErrorKind::PermissionDenied => Self::PermissionDenied { path, cause },
            _ => Self::Io { path, cause },
        }
    }

    pub(super) fn redb(path: &Path, error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse(path.to_owned()),
            redb::Error::Io(cause) if !speaks_of_damage(&cause) => Self::io(path, cause),
            other => Self::Corrupt {
                path: path.to_owned(),
                cause: other.to_string(),
            },
        }
    }
}

/// redb reports so a file that it did not write, or that was cut off.
fn speaks_of_damage(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

const FILE: &str = "store.redb";
/// A store being created; it gets its name when it is whole.
const NEW_FILE: &str = "store.redb.new";

/// The store's file in `directory`.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// The size of the store's file in `directory`.
pub(super) fn file_bytes(directory: &Path) -> Option<u64> {
    Some(fs::metadata(path(directory)).ok()?.len())
}

/// Where the store is, to open it again.
pub(super) enum Source {
    /// A file, in a directory that is kept from other processes for as long as this is there.
    File {
        /// The file.
        path: PathBuf,
        _lock: DirectoryLock,
    },
    /// Storage of any kind, which can be had again after it failed.
    Storage(Box<dyn FnMut() -> Box<dyn StorageBackend> + Send>),
    /// Storage that can be had once.
    Once,
}

/// Opens the store in `directory`; creates both if need be.
pub(super) fn file(directory: &Path, options: &Options) -> Result<(Source, Writer), OpenError> {
    let lock = lock(directory)?;
    let path = path(directory);
    if !path.try_exists().map_err(|e| OpenError::io(&path, e))? {
        create(directory, &path)?;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(|e| OpenError::io(&path, e))?;
    let writer = existing(&path, options)?;
    Ok((Source::File { path, _lock: lock }, writer))
}

pub(super) fn lock(directory: &Path) -> Result<DirectoryLock, OpenError> {
    DirectoryLock::acquire(directory).map_err(|error| match error {
        LockError::InUse => OpenError::InUse(directory.to_owned()),
        LockError::Io(path, cause) => OpenError::io(&path, cause),
    })
}

fn existing(path: &Path, options: &Options) -> Result<Writer, OpenError> {
    unpanicked(path, || {
        let database = builder(options).open(path);
        let database = database.map_err(|e| OpenError::redb(path, e.into()))?;
        let state = read_state(path, &database, options)?;
        Ok(Writer::new(database, state))
    })
}

pub(super) fn builder(options: &Options) -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(options.cache_bytes)
        .set_repair_callback(log_repair);
    builder
}

/// redb reports the damage that a crash can do. Other damage may make it panic.
pub(super) fn unpanicked<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(OpenError::Corrupt {
            path: path.to_owned(),
            cause: "its structure is not valid".to_owned(),
        })
    })
}

/// Makes a new store on `storage`, which is empty.
pub(super) fn storage(
    storage: impl StorageBackend,
    source: Source,
    options: &Options,
) -> Result<(Source, Writer), OpenError> {
    let name = Path::new("storage");
    let created = Builder::new()
        .set_cache_size(options.cache_bytes)
        .create_with_backend(storage);
    let database = created.map_err(|e| OpenError::redb(name, e.into()))?;
    initialise(&database).map_err(|e| OpenError::redb(name, e))?;
    let state = read_state(name, &database, options)?;
    Ok((source, Writer::new(database, state)))
}

impl Source {
    /// Whether there is a way to open it again.
    pub(super) fn is_lasting(&self) -> bool {
        !matches!(self, Self::Once)
    }

    /// Opens the store again after it failed, and checks all of it, as it is on the disk: what the system
    /// still has in memory of a write that failed proves nothing.
    pub(super) fn reopen(&mut self, options: &Options) -> Result<Writer, OpenError> {
        let (path, database) = match self {
            Self::File { path, .. } => {
                forget_cached(path).map_err(|e| OpenError::io(path, e))?;
                (
                    path.as_path(),
                    unpanicked(path, || {
                        let opened = builder(options).open(&*path);
                        opened.map_err(|e| OpenError::redb(path, e.into()))
                    })?,
                )
            }
            Self::Storage(again) => {
                let path = Path::new("storage");
                let opened = builder(options).create_with_backend(Boxed(again()));
                (path, opened.map_err(|e| OpenError::redb(path, e.into()))?)
            }
            Self::Once => {
                return Err(OpenError::Io {
                    path: "storage".into(),
                    cause: ErrorKind::Unsupported.into(),
                });
            }
        };
        unpanicked(path, || {
            let mut database = database;
            let checked = database.check_integrity();
            checked.map_err(|e| OpenError::redb(path, e.into()))?;
            let state = read_state(path, &database, options)?;
            Ok(Writer::new(database, state))
        })
    }
}

/// Makes the next reads of the file come from the disk.
fn forget_cached(path: &Path) -> io::Result<()> {
    let file = fs::File::open(path)?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}

#[derive(Debug)]
pub(super) struct Boxed(pub(super) Box<dyn StorageBackend>);

impl StorageBackend for Boxed {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

/// A crash while it runs leaves no store, or a whole one.
fn create(directory: &Path, path: &Path) -> Result<(), OpenError> {
    let new = directory.join(NEW_FILE);
    let _left_by_a_crash = fs::remove_file(&new);
    drop(
        private_file()
            .create_new(true)
            .open(&new)
            .map_err(|e| OpenError::io(&new, e))?,
    );
    let database = Builder::new()
        .create(&new)
        .map_err(|e| OpenError::redb(&new, e.into()))?;
    initialise(&database).map_err(|e| OpenError::redb(&new, e))?;
    database.close().map_err(|e| OpenError::redb(&new, e.into()))?;
    fs::rename(&new, path).map_err(|e| OpenError::io(path, e))?;
    sync(directory).map_err(|e| OpenError::io(directory, e))
}

fn initialise(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut meta = transaction.open_table(layout::META)?;
        meta.insert(layout::META_FORMAT, layout::FORMAT_VERSION)?;
        meta.insert(layout::META_SEQUENCE, 0)?;
        meta.insert(layout::META_OUTBOX_BYTES, 0)?;
        transaction.open_table(layout::OUTBOX)?;
        transaction.open_table(layout::CURSORS)?;
        transaction.open_table(layout::USAGE)?;
        transaction.open_table(layout::ANSWERS)?;
        transaction.open_table(layout::ANSWER_AGES)?;
        transaction.open_table(layout::HOST)?;
    }
    Ok(transaction.commit()?)
}

/// Refuses a file of another format.
pub(super) fn check_format(path: &Path, database: &Database) -> Result<(), OpenError> {
    let read = database
        .begin_read()
        .map_err(|e| OpenError::redb(path, e.into()))?;
    match number(path, &read, layout::META_FORMAT)? {
        layout::FORMAT_VERSION => Ok(()),
        found => Err(OpenError::WrongVersion {
            path: path.to_owned(),
            found,
        }),
    }
}

/// An entry of the table of contents.
fn number(path: &Path, read: &ReadTransaction, key: &str) -> Result<u64, OpenError> {
    let failed = |e: redb::Error| OpenError::redb(path, e);
    let meta = read.open_table(layout::META).map_err(|e| failed(e.into()))?;
    let row = meta.get(key).map_err(|e| failed(e.into()))?;
    row.map(|row| row.value()).ok_or_else(|| OpenError::Corrupt {
        path: path.to_owned(),
        cause: "an entry of its table of contents is missing".into(),
    })
}

fn read_state(path: &Path, database: &Database, options: &Options) -> Result<State, OpenError> {
    check_format(path, database)?;
    let failed = |e: redb::Error| OpenError::redb(path, e);
    let read = database.begin_read().map_err(|e| failed(e.into()))?;
    let outbox = read.open_table(layout::OUTBOX).map_err(|e| failed(e.into()))?;
    let cursors = read.open_table(layout::CURSORS).map_err(|e| failed(e.into()))?;
    let rows = cursors.iter().map_err(|e| failed(e.into()))?;
    let cursors = rows.map(|row| {
        let (sink, position) = row.map_err(|e| failed(e.into()))?;
        Ok((sink.value().into(), Position::from_key(position.value())))
    });
    Ok(State {
        sequence: number(path, &read, layout::META_SEQUENCE)?,
        outbox_entries: outbox.len().map_err(|e| failed(e.into()))?,
        outbox_bytes: number(path, &read, layout::META_OUTBOX_BYTES)?,
        cursors: cursors.collect::<Result<_, OpenError>>()?,
        usage: usage::read(&read).map_err(failed)?,
        answers: Answers::read(&read, &options.answers).map_err(failed)?,
        deferred: Levels::read(&read).map_err(failed)?,
    })
}

fn log_repair(session: &mut redb::RepairSession) {
    tracing::info!(
        progress = session.progress(),
        "checking the store after an unclean stop"
    );
}
