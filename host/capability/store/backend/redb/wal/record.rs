use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::capability::Namespace;
use crate::capability::store::answers::StagedAnswer;
use crate::capability::store::backend::{Batch, State};
use crate::capability::store::change::{Accepted, Change};
use crate::capability::store::deferred::HostRows;
use crate::capability::store::outbox::{Position, StagedEvent};
use crate::capability::store::transaction::Write;

/// A batch of commits, as it is in the log.
#[derive(Clone, PartialEq, Message)]
pub(in crate::capability::store::backend::redb) struct Record {
    /// When it was accepted, in nanoseconds since the Unix epoch.
    #[prost(uint64, tag = "1")]
    pub(in crate::capability::store::backend::redb) time: u64,
    /// Of the last commit, in this batch or before it.
    #[prost(uint64, tag = "2")]
    pub(in crate::capability::store::backend::redb) sequence: u64,
    /// With the events of this batch.
    #[prost(uint64, tag = "3")]
    pub(in crate::capability::store::backend::redb) outbox_bytes: u64,
    #[prost(message, repeated, tag = "4")]
    commits: Vec<CommitRecord>,
    /// All of them, if any has moved.
    #[prost(message, optional, tag = "5")]
    cursors: Option<Cursors>,
}

#[derive(Clone, PartialEq, Message)]
struct CommitRecord {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(string, tag = "2")]
    plugin: String,
    #[prost(uint32, tag = "3")]
    hops: u32,
    #[prost(message, repeated, tag = "4")]
    writes: Vec<Row>,
    #[prost(message, repeated, tag = "5")]
    host: Vec<Row>,
    #[prost(message, repeated, tag = "6")]
    events: Vec<EventRecord>,
    #[prost(message, optional, tag = "7")]
    answer: Option<Row>,
}

#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    /// None if it is deleted.
    #[prost(bytes = "bytes", optional, tag = "2")]
    value: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct EventRecord {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(bytes = "bytes", tag = "3")]
    payload: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Cursors {
    #[prost(message, repeated, tag = "1")]
    cursors: Vec<Cursor>,
}

#[derive(Clone, PartialEq, Message)]
struct Cursor {
    #[prost(string, tag = "1")]
    sink: String,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(uint32, tag = "3")]
    index: u32,
}

impl Record {
    pub(in crate::capability::store::backend::redb) fn new(batch: &Batch<'_>, state: &State) -> Self {
        let cursor = |(sink, position): (&Arc<str>, &Position)| Cursor {
            sink: sink.to_string(),
            sequence: position.sequence,
            index: position.index,
        };
        Self {
            time: batch.time,
            sequence: state.sequence,
            outbox_bytes: state.outbox_bytes,
            commits: batch.accepted.iter().map(CommitRecord::new).collect(),
            cursors: batch.cursors_moved.then(|| Cursors {
                cursors: state.cursors.iter().map(cursor).collect(),
            }),
        }
    }

    /// None if it was written by another version.
    pub(in crate::capability::store::backend::redb) fn accepted(&self) -> Option<Vec<Accepted>> {
        self.commits.iter().map(CommitRecord::accepted).collect()
    }

    pub(in crate::capability::store::backend::redb) fn cursors(
        &self,
    ) -> Option<BTreeMap<Arc<str>, Position>> {
        let cursors = self.cursors.as_ref()?.cursors.iter();
        Some(
            cursors
                .map(|cursor| {
                    let position = Position {
                        sequence: cursor.sequence,
                        index: cursor.index,
                    };
                    (cursor.sink.as_str().into(), position)
                })
                .collect(),
        )
    }
}

impl CommitRecord {
    fn new(accepted: &Accepted) -> Self {
        let change = &accepted.change;
        let event = |event: &StagedEvent| EventRecord {
            topic: event.topic().to_owned(),
            key: event.key().to_owned(),
            payload: event.payload().clone(),
        };
        let answer = change.answer.recorded().map(|(key, answer)| Row {
            key: Bytes::copy_from_slice(key),
            value: Some(answer.clone()),
        });
        Self {
            sequence: accepted.sequence,
            plugin: change.namespace.as_str().to_owned(),
            hops: change.hops,
            writes: rows(&change.writes),
            host: rows(&change.host.writes),
            events: change.events.iter().map(event).collect(),
            answer,
        }
    }

    fn accepted(&self) -> Option<Accepted> {
        let event =
            |event: &EventRecord| StagedEvent::new(&event.topic, &event.key, event.payload.clone()).ok();
        let answer = match &self.answer {
            None => StagedAnswer::default(),
            Some(row) => StagedAnswer {
                key: Some((*row.key).try_into().ok()?),
                answer: row.value.clone(),
            },
        };
        Some(Accepted {
            sequence: self.sequence,
            change: Change {
                namespace: Namespace::new(&self.plugin).ok()?,
                writes: writes(&self.writes),
                events: self.events.iter().map(event).collect::<Option<_>>()?,
                answer,
                hops: self.hops,
                host: HostRows::of(writes(&self.host)),
            },
        })
    }
}

fn rows(writes: &BTreeMap<Bytes, Write>) -> Vec<Row> {
    let row = |(key, write): (&Bytes, &Write)| Row {
        key: key.clone(),
        value: match write {
            Write::Put(value) => Some(value.clone()),
            Write::Delete => None,
        },
    };
    writes.iter().map(row).collect()
}

fn writes(rows: &[Row]) -> BTreeMap<Bytes, Write> {
    let write = |row: &Row| {
        let write = match &row.value {
            Some(value) => Write::Put(value.clone()),
            None => Write::Delete,
        };
        (row.key.clone(), write)
    };
    rows.iter().map(write).collect()
}
