use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, Durability, Key, ReadTransaction, ReadableDatabase, ReadableTable};
use redb::{TableDefinition, TableHandle, Value};

use super::View;
use crate::capability::directory;
use crate::capability::store::lock::private_file;
use crate::capability::store::writer::choose_log_key;
use crate::capability::store::{layout, open};

/// Rows that are copied in one transaction, whose changes redb keeps in memory.
const ROWS_AT_ONCE: usize = 10_000;
/// Of the copy, besides that of the store itself.
const CACHE_BYTES: usize = 16 << 20;

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
    Store(#[from] redb::Error),
}

impl View {
    /// Writes this state to the new file `to`, mode 0600, which is a whole store by itself: put in the place
    /// of `store.redb` of a host that is stopped, it restores all of it. The file has its name only once it
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
        let result = self.write(&part).and_then(|()| {
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

    fn write(&self, part: &Path) -> Result<(), BackupError> {
        let failed = |cause| BackupError::Io {
            path: part.to_owned(),
            cause,
        };
        let _left_by_a_crash = fs::remove_file(part);
        let storage = FileBackend::new(private_file().create_new(true).open(part).map_err(failed)?);
        let storage = Box::new(storage.map_err(redb::Error::from)?);
        let (_, copy) = open::new(storage, CACHE_BYTES)?;
        copy_tables(&self.snapshot.read, &copy)?;
        copy.close().map_err(redb::Error::from)?;
        fs::File::open(part)
            .and_then(|file| file.sync_all())
            .map_err(failed)
    }
}

fn copy_tables(from: &ReadTransaction, to: &Database) -> Result<(), redb::Error> {
    copy(from, to, layout::META)?;
    copy(from, to, layout::OUTBOX)?;
    copy(from, to, layout::CURSORS)?;
    copy(from, to, layout::USAGE)?;
    copy(from, to, layout::ANSWERS)?;
    copy(from, to, layout::ANSWER_AGES)?;
    copy(from, to, layout::HOST)?;
    // Its log is empty.
    let mut transaction = to.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    choose_log_key(&transaction)?;
    transaction.commit()?;
    for table in from.list_tables()? {
        // The others are the host's.
        if !table.name().starts_with('/') {
            copy(from, to, layout::data(table.name()))?;
        }
    }
    // What was added to the layout must be added here.
    let copied = to.begin_read()?.list_tables()?.count();
    match from.list_tables()?.count() {
        count if count == copied => Ok(()),
        count => Err(redb::Error::Corrupted(format!(
            "{copied} of {count} tables were copied"
        ))),
    }
}

/// Copies in steps of bounded size. Nobody reads the copy before it is whole.
fn copy<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &Database,
    definition: TableDefinition<'_, K, V>,
) -> Result<(), redb::Error> {
    let table = from.open_table(definition)?;
    let mut rows = table.iter()?;
    loop {
        let mut transaction = to.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut copied = 0;
        {
            let mut target = transaction.open_table(definition)?;
            while copied < ROWS_AT_ONCE
                && let Some(row) = rows.next()
            {
                let (key, value) = row?;
                target.insert(key.value(), value.value())?;
                copied += 1;
            }
        }
        transaction.commit()?;
        if copied < ROWS_AT_ONCE {
            return Ok(());
        }
    }
}
