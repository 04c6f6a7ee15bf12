use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, Durability, ReadableDatabase, StorageBackend, WriteTransaction};

use super::lock::{DirectoryLock, LockError, private_file};
use super::reader::DatabaseReader;
use super::storage::Storage;
use super::{Redb, choose_log_key, layout};
use crate::capability::directory::sync;
use crate::capability::store::Options;
use crate::capability::store::backend::{Again, Opened, ReadError, Reader};
use crate::capability::store::open::{OpenError, unpanicked};

const FILE: &str = "store.redb";
/// A store being created; it gets its name when it is whole.
const NEW_FILE: &str = "store.redb.new";
/// What storage that is no file goes by in messages.
const STORAGE: &str = "storage";

/// Why a read or write of the file at `path` failed.
pub(in crate::capability::store) fn open_error(path: &Path, error: impl Into<redb::Error>) -> OpenError {
    match error.into() {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
        redb::Error::Io(cause) if !speaks_of_damage(&cause) => OpenError::io(path, cause),
        other => OpenError::corrupt(path, other),
    }
}

/// redb reports so a file that it did not write, or that was cut off.
fn speaks_of_damage(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

/// The store's file in `directory`.
pub(in crate::capability::store) fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// Opens the store in `directory`; creates both if need be. The directory is kept from other processes for as
/// long as it can be opened again.
pub(in crate::capability::store) fn file(directory: &Path, options: &Options) -> Result<Opened, OpenError> {
    let lock = lock(directory)?;
    let path = path(directory);
    if !path.try_exists().map_err(|e| OpenError::io(&path, e))? {
        create(directory, &path, options)?;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(|e| OpenError::io(&path, e))?;
    let backend = existing(&path, options)?;
    let file = path.clone();
    let again: Again = Box::new(move |options| {
        let _held = &lock;
        forget_cached(&path).map_err(|e| OpenError::io(&path, e))?;
        Ok(Box::new(checked(&path, file_storage(&path)?, options)?))
    });
    Ok(Opened {
        backend: Box::new(backend),
        again: Some(again),
        file: Some(file),
    })
}

/// Opens the store on storage that can be had once; makes it if the storage is empty.
pub(in crate::capability::store) fn storage(
    storage: Box<dyn StorageBackend>,
    options: &Options,
) -> Result<Opened, OpenError> {
    Ok(Opened {
        backend: Box::new(on_storage(storage, options)?),
        again: None,
        file: None,
    })
}

/// The same on storage that can be had again, with what is on it.
pub(in crate::capability::store) fn lasting_storage(
    mut storage: impl FnMut() -> Box<dyn StorageBackend> + Send + 'static,
    options: &Options,
) -> Result<Opened, OpenError> {
    let backend = on_storage(storage(), options)?;
    let again: Again =
        Box::new(move |options| Ok(Box::new(checked(Path::new(STORAGE), storage(), options)?)));
    Ok(Opened {
        backend: Box::new(backend),
        again: Some(again),
        file: None,
    })
}

fn on_storage(storage: Box<dyn StorageBackend>, options: &Options) -> Result<Redb, OpenError> {
    let path = Path::new(STORAGE);
    if storage.len().map_err(|e| OpenError::io(path, e))? == 0 {
        let created = create_in(storage, options);
        let (storage, database) = created.map_err(|e| open_error(path, e))?;
        return on_database(path, storage, database, options);
    }
    unpanicked(path, || in_storage(path, storage, options))
}

pub(in crate::capability::store) fn lock(directory: &Path) -> Result<DirectoryLock, OpenError> {
    DirectoryLock::acquire(directory).map_err(|error| match error {
        LockError::InUse => OpenError::InUse(directory.to_owned()),
        LockError::Io(path, cause) => OpenError::io(&path, cause),
    })
}

/// Opens the store in the file at `path`, and brings into its database what a crash has left in the log.
pub(in crate::capability::store) fn existing(path: &Path, options: &Options) -> Result<Redb, OpenError> {
    let storage = file_storage(path)?;
    unpanicked(path, || in_storage(path, storage, options))
}

/// The same after a failure, with a check of all of the database, as it is on the disk: what the system still
/// has in memory of a write that failed proves nothing.
fn checked(path: &Path, storage: Box<dyn StorageBackend>, options: &Options) -> Result<Redb, OpenError> {
    unpanicked(path, || {
        let (storage, mut database) = database_in(path, storage, options)?;
        database.check_integrity().map_err(|e| open_error(path, e))?;
        on_database(path, storage, database, options)
    })
}

fn file_storage(path: &Path) -> Result<Box<dyn StorageBackend>, OpenError> {
    let file = fs::File::options().read(true).write(true).open(path);
    let file = FileBackend::new(file.map_err(|e| OpenError::io(path, e))?);
    Ok(Box::new(file.map_err(|e| open_error(path, e))?))
}

fn in_storage(path: &Path, storage: Box<dyn StorageBackend>, options: &Options) -> Result<Redb, OpenError> {
    let (storage, database) = database_in(path, storage, options)?;
    on_database(path, storage, database, options)
}

fn database_in(
    path: &Path,
    storage: Box<dyn StorageBackend>,
    options: &Options,
) -> Result<(Arc<Storage>, Database), OpenError> {
    let storage = Storage::open(path, storage)?;
    let opened = Builder::new()
        .set_cache_size(options.cache_bytes)
        .set_repair_callback(log_repair)
        .create_with_backend(storage.database());
    Ok((storage, opened.map_err(|e| open_error(path, e))?))
}

fn on_database(
    path: &Path,
    storage: Arc<Storage>,
    database: Database,
    options: &Options,
) -> Result<Redb, OpenError> {
    let unreadable = |error: ReadError| OpenError::read(path, error);
    let read = database.begin_read().map_err(|e| open_error(path, e))?;
    let reader = DatabaseReader(read);
    match reader.format().map_err(unreadable)? {
        layout::FORMAT_VERSION => {}
        found => {
            return Err(OpenError::WrongVersion {
                path: path.to_owned(),
                found,
            });
        }
    }
    let log_key = reader.log_key().map_err(unreadable)?;
    let logged = reader.logged().map_err(unreadable)?;
    let state = reader.state().map_err(unreadable)?;
    let mut redb = Redb::new(storage, database, &log_key, options.checkpoint_bytes);
    redb.recover(logged, state).map_err(|e| open_error(path, e))?;
    Ok(redb)
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
    let created = create_in(file_storage(&new)?, options);
    let (_, database) = created.map_err(|e| open_error(&new, e))?;
    database.close().map_err(|e| open_error(&new, e))?;
    fs::rename(&new, path).map_err(|e| OpenError::io(path, e))?;
    sync(directory).map_err(|e| OpenError::io(directory, e))
}

fn create_in(
    storage: Box<dyn StorageBackend>,
    options: &Options,
) -> Result<(Arc<Storage>, Database), redb::Error> {
    let (storage, database) = new(storage, options.cache_bytes)?;
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    initialise(&transaction)?;
    transaction.commit()?;
    Ok((storage, database))
}

/// An empty store.
pub(super) fn initialise(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    {
        let mut meta = transaction.open_table(layout::META)?;
        meta.insert(layout::META_FORMAT, layout::FORMAT_VERSION)?;
        meta.insert(layout::META_SEQUENCE, 0)?;
        meta.insert(layout::META_OUTBOX_BYTES, 0)?;
    }
    transaction.open_table(layout::OUTBOX)?;
    transaction.open_table(layout::CURSORS)?;
    transaction.open_table(layout::USAGE)?;
    transaction.open_table(layout::ANSWERS)?;
    transaction.open_table(layout::ANSWER_AGES)?;
    transaction.open_table(layout::HOST)?;
    choose_log_key(transaction)?;
    Ok(())
}

fn log_repair(session: &mut redb::RepairSession) {
    tracing::info!(
        progress = session.progress(),
        "checking the store after an unclean stop"
    );
}
