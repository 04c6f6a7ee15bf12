use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use redb::{
    Builder, Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageBackend, TableError,
};

use super::Options;
use super::deferred::{Levels, SIZED, sizes};
use super::layout;
use super::lock::{DirectoryLock, LockError, private_file};
use super::outbox::Position;
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

    fn redb(path: &Path, error: redb::Error) -> Self {
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

/// The size of the store's file in `directory`.
pub(super) fn file_bytes(directory: &Path) -> Option<u64> {
    Some(fs::metadata(directory.join(FILE)).ok()?.len())
}

/// Opens the store in `directory`; creates both if need be.
pub(super) fn file(directory: &Path, options: &Options) -> Result<(Writer, Levels), OpenError> {
    let lock = DirectoryLock::acquire(directory).map_err(|error| match error {
        LockError::InUse => OpenError::InUse(directory.to_owned()),
        LockError::Io(path, cause) => OpenError::io(&path, cause),
    })?;
    let path = directory.join(FILE);
    if !path.try_exists().map_err(|e| OpenError::io(&path, e))? {
        create(directory, &path)?;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(|e| OpenError::io(&path, e))?;
    // redb reports the damage that a crash can do. Other damage may make it panic.
    let opened = catch_unwind(|| {
        let mut builder = Builder::new();
        builder
            .set_cache_size(options.cache_bytes)
            .set_repair_callback(log_repair);
        let database = builder
            .open(&path)
            .map_err(|e| OpenError::redb(&path, e.into()))?;
        let (state, levels) = read_state(&path, &database)?;
        Ok((database, state, levels))
    });
    let (database, state, levels) = opened.unwrap_or_else(|_| {
        let cause = "its structure is not valid".to_owned();
        Err(OpenError::Corrupt {
            path: path.clone(),
            cause,
        })
    })?;
    Ok((Writer::new(database, state, Some(lock)), levels))
}

/// Makes a new store on `storage`, which is empty.
pub(super) fn storage(
    storage: impl StorageBackend,
    options: &Options,
) -> Result<(Writer, Levels), OpenError> {
    let name = Path::new("storage");
    let created = Builder::new()
        .set_cache_size(options.cache_bytes)
        .create_with_backend(storage);
    let database = created.map_err(|e| OpenError::redb(name, e.into()))?;
    initialise(&database).map_err(|e| OpenError::redb(name, e))?;
    let (state, levels) = read_state(name, &database)?;
    Ok((Writer::new(database, state, None), levels))
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
    }
    Ok(transaction.commit()?)
}

fn read_state(path: &Path, database: &Database) -> Result<(State, Levels), OpenError> {
    let failed = |e: redb::Error| OpenError::redb(path, e);
    let corrupt = |cause: &str| OpenError::Corrupt {
        path: path.to_owned(),
        cause: cause.to_owned(),
    };
    let read = database.begin_read().map_err(|e| failed(e.into()))?;
    let meta = read.open_table(layout::META).map_err(|e| failed(e.into()))?;
    let number = |key: &str| {
        let row = meta.get(key).map_err(|e| failed(e.into()))?;
        row.map(|row| row.value())
            .ok_or_else(|| corrupt("an entry of its table of contents is missing"))
    };
    let found = number(layout::META_FORMAT)?;
    if found != layout::FORMAT_VERSION {
        return Err(OpenError::WrongVersion {
            path: path.to_owned(),
            found,
        });
    }
    let outbox = read.open_table(layout::OUTBOX).map_err(|e| failed(e.into()))?;
    let cursors = read.open_table(layout::CURSORS).map_err(|e| failed(e.into()))?;
    let rows = cursors.iter().map_err(|e| failed(e.into()))?;
    let levels = read_levels(path, &read)?;
    let cursors = rows.map(|row| {
        let (sink, position) = row.map_err(|e| failed(e.into()))?;
        Ok((sink.value().into(), Position::from_key(position.value())))
    });
    let state = State {
        sequence: number(layout::META_SEQUENCE)?,
        outbox_entries: outbox.len().map_err(|e| failed(e.into()))?,
        outbox_bytes: number(layout::META_OUTBOX_BYTES)?,
        cursors: cursors.collect::<Result<_, OpenError>>()?,
    };
    Ok((state, levels))
}

/// Counts what is deferred and what is dead.
fn read_levels(path: &Path, read: &ReadTransaction) -> Result<Levels, OpenError> {
    let failed = |e: redb::Error| OpenError::redb(path, e);
    let levels = Levels::default();
    let table = match read.open_table(layout::data(layout::HOST)) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(levels),
        Err(error) => return Err(failed(error.into())),
    };
    for row in table.range::<&[u8]>(SIZED).map_err(|e| failed(e.into()))? {
        let (key, row) = row.map_err(|e| failed(e.into()))?;
        if let Some((plugin, bytes)) = sizes(key.value(), row.value().1) {
            levels.found(plugin, bytes);
        }
    }
    Ok(levels)
}

fn log_repair(session: &mut redb::RepairSession) {
    tracing::info!(
        progress = session.progress(),
        "checking the store after an unclean stop"
    );
}
