use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
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
use super::storage::Storage;
use super::usage;
use super::wal::LogKey;
use super::writer::{State, Writer, choose_log_key};
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
        "{path:?} has store format {found}, but this host reads format {supported}: have a host that reads it \
         export each plugin's entries (mortise store export), and import them into a new store",
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
        create(directory, &path, options)?;
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

/// Opens the store in the file at `path`, and brings into its database what a crash has left in the log.
pub(super) fn existing(path: &Path, options: &Options) -> Result<Writer, OpenError> {
    let storage = file_storage(path)?;
    unpanicked(path, || in_storage(path, storage, options, |_| Ok(())))
}

pub(super) fn file_storage(path: &Path) -> Result<Box<dyn StorageBackend>, OpenError> {
    let file = fs::File::options().read(true).write(true).open(path);
    let file = FileBackend::new(file.map_err(|e| OpenError::io(path, e))?);
    Ok(Box::new(file.map_err(|e| OpenError::redb(path, e.into()))?))
}

/// The same on any storage, with a check of its database.
fn in_storage(
    path: &Path,
    storage: Box<dyn StorageBackend>,
    options: &Options,
    check: impl FnOnce(&mut Database) -> Result<(), redb::Error>,
) -> Result<Writer, OpenError> {
    let failed = |error: redb::Error| OpenError::redb(path, error);
    let storage = Storage::open(path, storage)?;
    let opened = builder(options).create_with_backend(storage.database());
    let mut database = opened.map_err(|e| failed(e.into()))?;
    check(&mut database).map_err(failed)?;
    let mut writer = read(path, storage, database, options)?;
    let logged = number(path, &begin_read(path, writer.database())?, layout::META_LOGGED)?;
    if writer.recover(logged).map_err(failed)? {
        let state = read_state(path, writer.database(), options)?;
        writer.set_state(state);
    }
    Ok(writer)
}

/// The writer of an open database.
fn read(
    path: &Path,
    storage: Arc<Storage>,
    database: Database,
    options: &Options,
) -> Result<Writer, OpenError> {
    let state = read_state(path, &database, options)?;
    let log_key = log_key(path, &database)?;
    Ok(Writer::new(storage, database, &log_key, state, options))
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

/// Opens the store on `storage`; makes it if the storage is empty.
pub(super) fn storage(
    storage: Box<dyn StorageBackend>,
    source: Source,
    options: &Options,
) -> Result<(Source, Writer), OpenError> {
    let name = Path::new("storage");
    let length = storage.len().map_err(|e| OpenError::io(name, e))?;
    if length > 0 {
        let writer = unpanicked(name, || in_storage(name, storage, options, |_| Ok(())))?;
        return Ok((source, writer));
    }
    let failed = |error: redb::Error| OpenError::redb(name, error);
    let (storage, database) = new(storage, options.cache_bytes).map_err(failed)?;
    initialise(&database).map_err(failed)?;
    Ok((source, read(name, storage, database, options)?))
}

/// An empty database on empty storage.
pub(super) fn new(
    storage: Box<dyn StorageBackend>,
    cache_bytes: usize,
) -> Result<(Arc<Storage>, Database), redb::Error> {
    let storage = Storage::create(storage)?;
    let database = Builder::new()
        .set_cache_size(cache_bytes)
        .create_with_backend(storage.database())?;
    Ok((storage, database))
}

impl Source {
    /// Whether there is a way to open it again.
    pub(super) fn is_lasting(&self) -> bool {
        !matches!(self, Self::Once)
    }

    /// Opens the store again after it failed, and checks all of it, as it is on the disk: what the system
    /// still has in memory of a write that failed proves nothing.
    pub(super) fn reopen(&mut self, options: &Options) -> Result<Writer, OpenError> {
        let (path, storage) = match self {
            Self::File { path, .. } => {
                forget_cached(path).map_err(|e| OpenError::io(path, e))?;
                (path.as_path(), file_storage(path)?)
            }
            Self::Storage(again) => (Path::new("storage"), again()),
            Self::Once => {
                return Err(OpenError::Io {
                    path: "storage".into(),
                    cause: ErrorKind::Unsupported.into(),
                });
            }
        };
        unpanicked(path, || {
            in_storage(path, storage, options, |database| {
                database.check_integrity()?;
                Ok(())
            })
        })
    }
}

/// Makes the next reads of the file come from the disk.
fn forget_cached(path: &Path) -> io::Result<()> {
    let file = fs::File::open(path)?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// A crash while it runs leaves no store, or a whole one.
fn create(directory: &Path, path: &Path, options: &Options) -> Result<(), OpenError> {
    let new = directory.join(NEW_FILE);
    let _left_by_a_crash = fs::remove_file(&new);
    drop(
        private_file()
            .create_new(true)
            .open(&new)
            .map_err(|e| OpenError::io(&new, e))?,
    );
    let failed = |error: redb::Error| OpenError::redb(&new, error);
    let (_, database) = self::new(file_storage(&new)?, options.cache_bytes).map_err(failed)?;
    initialise(&database).map_err(failed)?;
    database.close().map_err(|e| failed(e.into()))?;
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
    choose_log_key(&transaction)?;
    Ok(transaction.commit()?)
}

/// Refuses a file of another format.
pub(super) fn check_format(path: &Path, database: &Database) -> Result<(), OpenError> {
    match number(path, &begin_read(path, database)?, layout::META_FORMAT)? {
        layout::FORMAT_VERSION => Ok(()),
        found => Err(OpenError::WrongVersion {
            path: path.to_owned(),
            found,
        }),
    }
}

fn begin_read(path: &Path, database: &Database) -> Result<ReadTransaction, OpenError> {
    let read = database.begin_read();
    read.map_err(|e| OpenError::redb(path, e.into()))
}

fn log_key(path: &Path, database: &Database) -> Result<LogKey, OpenError> {
    let failed = |e: redb::Error| OpenError::redb(path, e);
    let table = begin_read(path, database)?.open_table(layout::LOG_KEY);
    let row = table.map_err(|e| failed(e.into()))?.get(());
    let row = row.map_err(|e| failed(e.into()))?;
    row.map(|row| *row.value()).ok_or_else(|| OpenError::Corrupt {
        path: path.to_owned(),
        cause: "the key of its log is missing".into(),
    })
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
    let read = begin_read(path, database)?;
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
