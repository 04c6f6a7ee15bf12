//! [redb], an embedded B-tree, and before it a write-ahead log of the store's own.
//!
//! A batch is durable with one record of the log (`wal`), and in the database when a checkpoint brings it
//! there. Log and database are parts of one file (`storage`); whatever stands in for a file, in memory or in a
//! test, is a [`redb::StorageBackend`] beneath both.

mod apply;
mod copy;
mod layout;
mod lock;
mod open;
mod reader;
mod storage;
mod wal;

use std::sync::Arc;

use prost::Message;
use redb::{Database, Durability, ReadableDatabase, WriteTransaction};

pub(in crate::capability::store) use copy::{CopyError, copy};
pub(in crate::capability::store) use layout::FORMAT_VERSION;
pub(in crate::capability::store) use open::{
    existing, file, lasting_storage, lock, open_error, path, storage,
};

use self::storage::{LOG_BYTES, Storage};
use super::{Backend, Batch, Reader, State, WriteError};
use super::{Cause, ReadError};
use reader::DatabaseReader;
use wal::{LogKey, Record, Wal};

/// An open file, or what behaves like one.
pub(in crate::capability::store) struct Redb {
    database: Database,
    storage: Arc<Storage>,
    wal: Wal,
    max_log_bytes: usize,
}

impl Redb {
    /// On an open database. What a crash left in its log is yet to be [recovered](Self::recover).
    fn new(storage: Arc<Storage>, database: Database, log_key: &LogKey, max_log_bytes: usize) -> Self {
        Self {
            database,
            wal: Wal::new(&storage, log_key, max_log_bytes),
            storage,
            max_log_bytes,
        }
    }

    /// Brings into the database what the log has and it lacks. `state` is that of the database, which has
    /// `logged` records of the log.
    ///
    /// A log that is not empty then begins anew, under another key: what follows a record that was torn must
    /// not come back when the same is committed again.
    ///
    /// # Errors
    /// If the log cannot be read or written, or was written by another version.
    fn recover(&mut self, logged: u64, mut state: State) -> Result<(), redb::Error> {
        let mut records = Vec::new();
        while let Some(record) = self.wal.next()? {
            records.push(record);
        }
        if self.wal.records() == 0 && logged == 0 {
            return Ok(());
        }
        let unreadable = || redb::Error::Corrupted("its log holds what this host does not write".into());
        let transaction = self.begin(Durability::Immediate)?;
        for record in records.iter().skip(usize::try_from(logged).unwrap_or(usize::MAX)) {
            let record = Record::decode(&**record).map_err(|_| unreadable())?;
            let accepted = record.accepted().ok_or_else(unreadable)?;
            let cursors = record.cursors();
            let batch = Batch {
                time: record.time,
                accepted: &accepted,
                cursors_moved: cursors.is_some(),
                // The next batch drops what has expired.
                expired: 0,
                durable: true,
            };
            state.cursors = cursors.unwrap_or(state.cursors);
            (state.sequence, state.outbox_bytes) = (record.sequence, record.outbox_bytes);
            apply::batch(&transaction, &batch, &mut state)?;
        }
        // Relaxed commits whose numbers were seen, as versions, may be lost: fewer than the log has bytes.
        let sequence = state.sequence + LOG_BYTES;
        transaction
            .open_table(layout::META)?
            .insert(layout::META_SEQUENCE, sequence)?;
        self.begin_log(transaction).map_err(|error| match error {
            Failed::BeforeCommit(error) | Failed::DuringCommit(error) => error,
        })
    }

    /// Reads everything against its checksums. False if the free space of the file was not as it should be; it
    /// is now.
    pub(in crate::capability::store) fn check(&mut self) -> Result<bool, redb::Error> {
        Ok(self.database.check_integrity()?)
    }

    /// Makes the file as small as its content allows.
    pub(in crate::capability::store) fn compact(&mut self) -> Result<(), redb::Error> {
        self.database.compact()?;
        Ok(())
    }

    /// Closes the file.
    pub(in crate::capability::store) fn close(self) -> Result<(), redb::Error> {
        Ok(self.database.close()?)
    }

    fn write(&mut self, batch: &Batch<'_>, state: &mut State) -> Result<bool, Failed> {
        let record = Record::new(batch, state);
        if !self.wal.has_room(record.encoded_len()) {
            let transaction = self.begin(Durability::Immediate).map_err(Failed::before)?;
            apply::batch(&transaction, batch, state).map_err(Failed::before)?;
            self.begin_log(transaction)?;
            return Ok(true);
        }
        // The first record always is: a log that is found empty has lost none.
        let durable = batch.durable || self.wal.records() == 0;
        let transaction = self.begin(Durability::None).map_err(Failed::before)?;
        apply::batch(&transaction, batch, state)
            .and_then(|()| count_logged(&transaction, self.wal.records() + 1))
            .map_err(Failed::before)?;
        self.wal.append(&record.encode_to_vec()).map_err(Failed::during)?;
        if durable {
            self.wal.sync().map_err(Failed::during)?;
        }
        transaction.commit().map_err(Failed::during)?;
        Ok(durable)
    }

    /// Quick repair, which brings two-phase commit with it, costs a second fsync and the saving of the
    /// allocator's state, once for as many batches as the log holds.
    ///
    /// It is worth that. A host that was killed opens a store of a gigabyte in milliseconds; without it the
    /// file is read and checked from end to end, which takes more than ten seconds from a cold disk and grows
    /// with the file. And whether a commit is whole then rests on the order of two fsyncs, not on a checksum
    /// that is no match for somebody who chooses the data, as plugins and their clients do.
    fn begin(&self, durability: Durability) -> Result<WriteTransaction, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        transaction.set_quick_repair(matches!(durability, Durability::Immediate));
        Ok(transaction)
    }

    /// Commits `transaction`, which brings all before it to the disk, too, and with it begins the log anew.
    fn begin_log(&mut self, transaction: WriteTransaction) -> Result<(), Failed> {
        let key = choose_log_key(&transaction).map_err(Failed::before)?;
        transaction.commit().map_err(Failed::during)?;
        self.wal = Wal::new(&self.storage, &key, self.max_log_bytes);
        Ok(())
    }
}

impl Backend for Redb {
    fn reader(&self) -> Result<Box<dyn Reader>, ReadError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        Ok(Box::new(DatabaseReader(read)))
    }

    fn commit(&mut self, batch: &Batch<'_>, state: &mut State) -> Result<bool, WriteError> {
        Ok(self.write(batch, state)?)
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        Ok(self.wal.sync().map_err(Failed::during)?)
    }

    /// Brings everything into the database, and the database to the disk.
    fn finish(&mut self) -> Result<(), WriteError> {
        if self.wal.records() == 0 {
            return Ok(());
        }
        let transaction = self.begin(Durability::Immediate).map_err(Failed::before)?;
        Ok(self.begin_log(transaction)?)
    }

    fn log_bytes(&self) -> u64 {
        self.wal.bytes()
    }
}

/// A log that begins with `transaction`.
fn choose_log_key(transaction: &WriteTransaction) -> Result<LogKey, redb::Error> {
    let key: LogKey = rand::random();
    transaction.open_table(layout::LOG_KEY)?.insert((), &key)?;
    count_logged(transaction, 0)?;
    Ok(key)
}

fn count_logged(transaction: &WriteTransaction, records: u64) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(layout::META)?;
    meta.insert(layout::META_LOGGED, records)?;
    Ok(())
}

/// As [`WriteError`].
enum Failed {
    BeforeCommit(redb::Error),
    DuringCommit(redb::Error),
}

impl Failed {
    fn before(error: impl Into<redb::Error>) -> Self {
        Self::BeforeCommit(error.into())
    }

    fn during(error: impl Into<redb::Error>) -> Self {
        Self::DuringCommit(error.into())
    }
}

impl From<Failed> for WriteError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::BeforeCommit(error) => Self::BeforeCommit(error.into()),
            Failed::DuringCommit(error) => Self::DuringCommit(error.into()),
        }
    }
}

impl From<redb::Error> for ReadError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseClosed => Self::Closed,
            redb::Error::Io(error) => Self::Failed(error.into()),
            other => Self::Failed(Cause::from(other)),
        }
    }
}

impl From<redb::StorageError> for ReadError {
    fn from(error: redb::StorageError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::TableError> for ReadError {
    fn from(error: redb::TableError) -> Self {
        redb::Error::from(error).into()
    }
}
