use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableError, TableHandle};

use super::apply::oldest_answer;
use super::layout::{self, AnswerRow, DataRow, OutboxKey};
use crate::capability::Namespace;
use crate::capability::store::answers::AnswerKey;
use crate::capability::store::backend::{
    Between, ReadError, Reader, RecordedAnswer, Rows, State, Table, Visit,
};
use crate::capability::store::outbox::{Event, Position};
use crate::capability::store::scan::{Direction, Entry};
use crate::capability::store::transaction::Versioned;
use crate::capability::store::usage::Usage;

pub(super) struct DatabaseReader(pub(super) ReadTransaction);

impl DatabaseReader {
    fn number(&self, key: &str) -> Result<u64, ReadError> {
        let found = self.0.open_table(layout::META)?.get(key)?;
        let missing = || ReadError::damaged("an entry of its table of contents is missing");
        Ok(found.ok_or_else(missing)?.value())
    }

    /// How many records of its log are in the database.
    pub(super) fn logged(&self) -> Result<u64, ReadError> {
        self.number(layout::META_LOGGED)
    }

    pub(super) fn format(&self) -> Result<u64, ReadError> {
        self.number(layout::META_FORMAT)
    }

    pub(super) fn log_key(&self) -> Result<super::LogKey, ReadError> {
        let found = self.0.open_table(layout::LOG_KEY)?.get(())?;
        let missing = || ReadError::damaged("the key of its log is missing");
        Ok(*found.ok_or_else(missing)?.value())
    }
}

impl Reader for DatabaseReader {
    fn state(&self) -> Result<State, ReadError> {
        let cursors = self.0.open_table(layout::CURSORS)?;
        let cursors = cursors.iter()?.map(|row| {
            let (sink, cursor) = row?;
            Ok((sink.value().into(), position(cursor.value())))
        });
        let usage = self.0.open_table(layout::USAGE)?;
        let usage = usage.iter()?.map(|row| {
            let (plugin, row) = row?;
            let (keys, bytes, answers, answer_bytes) = row.value();
            let usage = Usage {
                keys,
                bytes,
                answers,
                answer_bytes,
            };
            Ok((namespace(plugin.value())?, usage))
        });
        Ok(State {
            sequence: self.number(layout::META_SEQUENCE)?,
            outbox_entries: self.0.open_table(layout::OUTBOX)?.len()?,
            outbox_bytes: self.number(layout::META_OUTBOX_BYTES)?,
            cursors: cursors.collect::<Result<_, ReadError>>()?,
            usage: usage.collect::<Result<_, ReadError>>()?,
            oldest_answer: oldest_answer(&self.0.open_table(layout::ANSWER_AGES)?)?,
        })
    }

    fn rows(&self, table: Table<'_>) -> Result<Option<Arc<dyn Rows>>, ReadError> {
        let opened = match table {
            Table::Plugin(plugin) => self.0.open_table(layout::data(plugin.as_str())),
            Table::Host => self.0.open_table(layout::HOST),
        };
        match opened {
            Ok(table) => Ok(Some(Arc::new(TableRows(table)))),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn plugins(&self) -> Result<Vec<Namespace>, ReadError> {
        let tables = self.0.list_tables()?;
        let of_plugins = tables.filter(|table| !table.name().starts_with('/'));
        of_plugins.map(|table| namespace(table.name())).collect()
    }

    fn cursor(&self, sink: &str) -> Result<Position, ReadError> {
        let found = self.0.open_table(layout::CURSORS)?.get(sink)?;
        Ok(found.map(|row| position(row.value())).unwrap_or_default())
    }

    fn events(&self, after: Position, visit: &mut Visit<'_, Event>) -> Result<(), ReadError> {
        let after = Bound::Excluded((after.sequence, after.index));
        let table = self.0.open_table(layout::OUTBOX)?;
        for row in table.range((after, Bound::Unbounded))? {
            let (key, row) = row?;
            let (time, hops, plugin, topic, event_key, payload) = row.value();
            let event = Event {
                position: position(key.value()),
                time: SystemTime::UNIX_EPOCH + Duration::from_nanos(time),
                hops,
                plugin: plugin.to_owned(),
                topic: topic.to_owned(),
                key: event_key.to_owned(),
                payload: Bytes::copy_from_slice(payload),
            };
            if visit(event) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn answer(&self, key: &AnswerKey) -> Result<Option<RecordedAnswer>, ReadError> {
        let found = self.0.open_table(layout::ANSWERS)?.get(key)?;
        found.map(|row| recorded(row.value())).transpose()
    }

    fn answers(&self, visit: &mut Visit<'_, (AnswerKey, RecordedAnswer)>) -> Result<(), ReadError> {
        for row in self.0.open_table(layout::ANSWERS)?.iter()? {
            let (key, row) = row?;
            if visit((*key.value(), recorded(row.value())?)) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

fn position((sequence, index): OutboxKey) -> Position {
    Position { sequence, index }
}

fn namespace(name: &str) -> Result<Namespace, ReadError> {
    Namespace::new(name).map_err(ReadError::damaged)
}

fn recorded(
    (time, plugin, answer): <AnswerRow as redb::Value>::SelfType<'_>,
) -> Result<RecordedAnswer, ReadError> {
    Ok(RecordedAnswer {
        time,
        plugin: namespace(plugin)?,
        answer: Bytes::copy_from_slice(answer),
    })
}

struct TableRows(ReadOnlyTable<&'static [u8], DataRow>);

impl Rows for TableRows {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, ReadError> {
        Ok(self.0.get(key)?.map(|row| {
            let (version, value) = row.value();
            Versioned {
                value: Bytes::copy_from_slice(value),
                version,
            }
        }))
    }

    fn value_bytes(&self, key: &[u8]) -> Result<Option<usize>, ReadError> {
        Ok(self.0.get(key)?.map(|row| row.value().1.len()))
    }

    fn scan(
        &self,
        between: Between<'_>,
        direction: Direction,
        visit: &mut Visit<'_, Entry>,
    ) -> Result<(), ReadError> {
        let mut rows = self.0.range::<&[u8]>(between)?;
        loop {
            let row = match direction {
                Direction::Ascending => rows.next(),
                Direction::Descending => rows.next_back(),
            };
            let Some(row) = row else { return Ok(()) };
            let (key, row) = row?;
            let (version, value) = row.value();
            let entry = Entry {
                key: Bytes::copy_from_slice(key.value()),
                value: Bytes::copy_from_slice(value),
                version,
            };
            if visit(entry) == ControlFlow::Break(()) {
                return Ok(());
            }
        }
    }
}
