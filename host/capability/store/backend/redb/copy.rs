use std::fs;
use std::io;
use std::ops::{Bound, ControlFlow};
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Database, Durability, TableDefinition, WriteTransaction};

use super::lock::private_file;
use super::{layout, open};
use crate::capability::store::backend::{ReadError, Reader, Table, Visit};
use crate::capability::store::deferred::nanos;
use crate::capability::store::outbox::{Position, event_bytes};
use crate::capability::store::scan::Direction;

/// What is copied in one transaction, whose changes redb keeps in memory.
const ROWS_AT_ONCE: usize = 10_000;
const BYTES_AT_ONCE: usize = 8 << 20;
/// Of the copy, besides that of the store itself.
const CACHE_BYTES: usize = 16 << 20;

/// Why a copy was not written.
#[derive(Debug, thiserror::Error)]
pub(in crate::capability::store) enum CopyError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] redb::Error),
}

/// Writes what `from` reads, whatever it is a state of, to the new file `part`, mode 0600, as a whole store
/// whose log is empty. It is on the disk when this returns.
pub(in crate::capability::store) fn copy(from: &dyn Reader, part: &Path) -> Result<(), CopyError> {
    let storage = FileBackend::new(private_file().create_new(true).open(part)?);
    let storage = Box::new(storage.map_err(redb::Error::from)?);
    let (_, database) = open::new(storage, CACHE_BYTES)?;
    let copy = Copy(&database);
    copy.whole(from)?;
    copy.table(from, Table::Host, layout::HOST)?;
    for plugin in from.plugins()? {
        copy.table(from, Table::Plugin(&plugin), layout::data(plugin.as_str()))?;
    }
    copy.events(from)?;
    copy.answers(from)?;
    database.close().map_err(redb::Error::from)?;
    Ok(fs::File::open(part)?.sync_all()?)
}

/// Nobody reads the copy before it is whole.
struct Copy<'d>(&'d Database);

impl Copy<'_> {
    /// What is known of it as a whole.
    fn whole(&self, from: &dyn Reader) -> Result<(), CopyError> {
        let state = from.state()?;
        let written = self.step(|transaction| {
            open::initialise(transaction)?;
            let mut meta = transaction.open_table(layout::META)?;
            meta.insert(layout::META_SEQUENCE, state.sequence)?;
            meta.insert(layout::META_OUTBOX_BYTES, state.outbox_bytes)?;
            let mut cursors = transaction.open_table(layout::CURSORS)?;
            for (sink, cursor) in &state.cursors {
                cursors.insert(&**sink, (cursor.sequence, cursor.index))?;
            }
            let mut usage = transaction.open_table(layout::USAGE)?;
            for (plugin, of_plugin) in &state.usage {
                usage.insert(plugin.as_str(), layout::usage(*of_plugin))?;
            }
            Ok(())
        });
        Ok(written?)
    }

    fn table(
        &self,
        from: &dyn Reader,
        table: Table<'_>,
        to: TableDefinition<'_, &'static [u8], layout::DataRow>,
    ) -> Result<(), CopyError> {
        let Some(rows) = from.rows(table)? else {
            return Ok(());
        };
        let all = (Bound::Unbounded, Bound::Unbounded);
        self.steps(
            |visit| rows.scan(all, Direction::Ascending, visit),
            |entry| entry.key.len() + entry.value.len(),
            |transaction, entries| {
                let mut table = transaction.open_table(to)?;
                for entry in entries {
                    table.insert(&*entry.key, (entry.version, &*entry.value))?;
                }
                Ok(())
            },
        )
    }

    fn events(&self, from: &dyn Reader) -> Result<(), CopyError> {
        self.steps(
            |visit| from.events(Position::default(), visit),
            |event| event_bytes(&event.topic, &event.key, &event.payload),
            |transaction, events| {
                let mut outbox = transaction.open_table(layout::OUTBOX)?;
                for event in events {
                    let (plugin, topic, key) = (&*event.plugin, &*event.topic, &*event.key);
                    let row = (nanos(event.time), event.hops, plugin, topic, key, &*event.payload);
                    outbox.insert((event.position.sequence, event.position.index), row)?;
                }
                Ok(())
            },
        )
    }

    fn answers(&self, from: &dyn Reader) -> Result<(), CopyError> {
        self.steps(
            |visit| from.answers(visit),
            |(_, recorded)| recorded.answer.len(),
            |transaction, answers| {
                let mut rows = transaction.open_table(layout::ANSWERS)?;
                let mut ages = transaction.open_table(layout::ANSWER_AGES)?;
                for (key, recorded) in answers {
                    rows.insert(key, (recorded.time, recorded.plugin.as_str(), &*recorded.answer))?;
                    ages.insert((recorded.time, key), ())?;
                }
                Ok(())
            },
        )
    }

    /// Writes what `scan` visits, in steps of bounded size.
    fn steps<T>(
        &self,
        scan: impl FnOnce(&mut Visit<'_, T>) -> Result<(), ReadError>,
        size: impl Fn(&T) -> usize,
        write: impl Fn(&WriteTransaction, &[T]) -> Result<(), redb::Error>,
    ) -> Result<(), CopyError> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let mut written = Ok(());
        scan(&mut |row| {
            bytes += size(&row);
            rows.push(row);
            if rows.len() < ROWS_AT_ONCE && bytes < BYTES_AT_ONCE {
                return ControlFlow::Continue(());
            }
            written = self.step(|transaction| write(transaction, &rows));
            rows.clear();
            bytes = 0;
            match written {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        written?;
        Ok(self.step(|transaction| write(transaction, &rows))?)
    }

    fn step(
        &self,
        write: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        write(&transaction)?;
        Ok(transaction.commit()?)
    }
}
