//! Ordered maps whose clones share what they have in common: a state costs next to nothing to keep, and
//! nothing is ever on a disk. For tests, and for hosts that are to forget.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rpds::RedBlackTreeMapSync as Map;

use super::{
    Backend, Batch, Between, MAX_SWEPT, Opened, ReadError, Reader, RecordedAnswer, Rows, State, Table, Visit,
    WriteError,
};
use crate::capability::Namespace;
use crate::capability::store::answers::AnswerKey;
use crate::capability::store::change::{Accepted, Change};
use crate::capability::store::deferred::ACKNOWLEDGEMENTS;
use crate::capability::store::outbox::{Event, Position};
use crate::capability::store::scan::{Direction, Entry};
use crate::capability::store::transaction::{Versioned, Write};

pub(in crate::capability::store) fn new() -> Opened {
    Opened {
        backend: Box::new(Memory(Contents::default())),
        again: None,
        file: None,
    }
}

struct Memory(Contents);

#[derive(Clone, Default)]
struct Contents {
    state: State,
    plugins: Map<Namespace, Entries>,
    host: Entries,
    events: Map<Position, Event>,
    answers: Map<AnswerKey, RecordedAnswer>,
    /// The keys of `answers` from the oldest to the newest.
    ages: Map<(u64, AnswerKey), ()>,
}

type Entries = Map<Bytes, Versioned>;

impl Backend for Memory {
    fn reader(&self) -> Result<Box<dyn Reader>, ReadError> {
        Ok(Box::new(self.0.clone()))
    }

    fn commit(&mut self, batch: &Batch<'_>, state: &mut State) -> Result<bool, WriteError> {
        let Self(contents) = self;
        for accepted in batch.accepted {
            contents.apply(accepted, batch.time, state);
        }
        contents.drop_expired(batch.expired, state);
        if batch.cursors_moved {
            contents.drop_passed(state);
        }
        contents.state = state.clone();
        // As durable as it gets.
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        Ok(())
    }
}

impl Contents {
    fn apply(&mut self, accepted: &Accepted, time: u64, state: &mut State) {
        let Accepted { sequence, change } = accepted;
        let plugin = &change.namespace;
        if !change.writes.is_empty() {
            let mut entries = self.plugins.get(plugin).cloned().unwrap_or_default();
            let usage = state.usage.entry(plugin.clone()).or_default();
            for (key, write) in &change.writes {
                if let Some(replaced) = entries.get(key) {
                    usage.remove_entry(key, replaced.value.len());
                }
                if let Some(bytes) = write.value_bytes() {
                    usage.add_entry(key, bytes);
                }
                put(&mut entries, key, write, *sequence);
            }
            self.plugins.insert_mut(plugin.clone(), entries);
        }
        for (key, write) in &change.host.writes {
            put(&mut self.host, key, write, *sequence);
        }
        self.publish(*sequence, change, time);
        if let Some((key, answer)) = change.answer.recorded() {
            self.forget(key, state);
            state.usage.entry(plugin.clone()).or_default().add_answer(answer);
            let recorded = RecordedAnswer {
                time,
                plugin: plugin.clone(),
                answer: answer.clone(),
            };
            self.answers.insert_mut(*key, recorded);
            self.ages.insert_mut((time, *key), ());
        }
    }

    fn publish(&mut self, sequence: u64, change: &Change, time: u64) {
        for (index, event) in (0..).zip(&change.events) {
            let position = Position { sequence, index };
            let event = Event {
                position,
                time: SystemTime::UNIX_EPOCH + Duration::from_nanos(time),
                hops: change.hops,
                plugin: change.namespace.to_string(),
                topic: event.topic().to_owned(),
                key: event.key().to_owned(),
                payload: event.payload().clone(),
            };
            self.events.insert_mut(position, event);
        }
    }

    fn forget(&mut self, key: &AnswerKey, state: &mut State) {
        let Some(RecordedAnswer { time, plugin, answer }) = self.answers.get(key).cloned() else {
            return;
        };
        self.answers.remove_mut(key);
        self.ages.remove_mut(&(time, *key));
        state.usage.entry(plugin).or_default().remove_answer(&answer);
    }

    fn drop_expired(&mut self, expired: u64, state: &mut State) {
        let ages = self.ages.range(..=(expired, [0xff; 32])).take(MAX_SWEPT);
        for key in ages.map(|((_, key), ())| *key).collect::<Vec<_>>() {
            self.forget(&key, state);
        }
        state.oldest_answer = self.ages.first().map(|((time, _), ())| *time);
    }

    fn drop_passed(&mut self, state: &mut State) {
        let acknowledgements = self.host.range::<[u8], _>(within(ACKNOWLEDGEMENTS));
        let passed = acknowledgements.filter(|(key, _)| state.has_passed(key));
        for key in passed.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.host.remove_mut(&key);
        }
        let Some(through) = state.delivered() else { return };
        while let Some((position, event)) = self.events.first()
            && *position <= through
        {
            state.outbox_bytes = state.outbox_bytes.saturating_sub(event.bytes() as u64);
            let position = *position;
            self.events.remove_mut(&position);
        }
        state.outbox_entries = self.events.size() as u64;
    }
}

fn put(entries: &mut Entries, key: &Bytes, write: &Write, sequence: u64) {
    match write {
        Write::Put(value) => {
            let versioned = Versioned {
                value: value.clone(),
                version: sequence,
            };
            entries.insert_mut(key.clone(), versioned);
        }
        Write::Delete => {
            entries.remove_mut(key);
        }
    }
}

fn within(range: std::ops::Range<&[u8]>) -> Between<'_> {
    (Bound::Included(range.start), Bound::Excluded(range.end))
}

impl Reader for Contents {
    fn state(&self) -> Result<State, ReadError> {
        Ok(self.state.clone())
    }

    fn rows(&self, table: Table<'_>) -> Result<Option<Arc<dyn Rows>>, ReadError> {
        let entries = match table {
            Table::Plugin(plugin) => self.plugins.get(plugin),
            Table::Host => Some(&self.host),
        };
        Ok(entries.map(|entries| Arc::new(entries.clone()) as Arc<dyn Rows>))
    }

    fn plugins(&self) -> Result<Vec<Namespace>, ReadError> {
        Ok(self.plugins.keys().cloned().collect())
    }

    fn cursor(&self, sink: &str) -> Result<Position, ReadError> {
        Ok(self.state.cursors.get(sink).copied().unwrap_or_default())
    }

    fn events(&self, after: Position, visit: &mut Visit<'_, Event>) -> Result<(), ReadError> {
        let events = self.events.range((Bound::Excluded(after), Bound::Unbounded));
        all(events.map(|(_, event)| event.clone()), visit)
    }

    fn answer(&self, key: &AnswerKey) -> Result<Option<RecordedAnswer>, ReadError> {
        Ok(self.answers.get(key).cloned())
    }

    fn answers(&self, visit: &mut Visit<'_, (AnswerKey, RecordedAnswer)>) -> Result<(), ReadError> {
        all(
            self.answers.iter().map(|(key, answer)| (*key, answer.clone())),
            visit,
        )
    }
}

impl Rows for Entries {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, ReadError> {
        Ok(Map::get(self, key).cloned())
    }

    fn value_bytes(&self, key: &[u8]) -> Result<Option<usize>, ReadError> {
        Ok(Map::get(self, key).map(|row| row.value.len()))
    }

    fn scan(
        &self,
        between: Between<'_>,
        direction: Direction,
        visit: &mut Visit<'_, Entry>,
    ) -> Result<(), ReadError> {
        let rows = self.range::<[u8], _>(between).map(|(key, row)| Entry {
            key: key.clone(),
            value: row.value.clone(),
            version: row.version,
        });
        match direction {
            Direction::Ascending => all(rows, visit),
            Direction::Descending => all(rows.rev(), visit),
        }
    }
}

fn all<T>(rows: impl IntoIterator<Item = T>, visit: &mut Visit<'_, T>) -> Result<(), ReadError> {
    // Being told to stop is no failure.
    let _stopped: ControlFlow<()> = rows.into_iter().try_for_each(visit);
    Ok(())
}
