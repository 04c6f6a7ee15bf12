//! The keys and values of the host's own rows, all in one table:
//!
//! | key | value |
//! |---|---|
//! | `c` PLUGIN `0` ID | a [`CallRow`] |
//! | `d` PLUGIN `0` DUE ID | bytes of the row under `c`: finds what is due, in the order of time |
//! | `a` SINK `0` SEQUENCE INDEX | nothing: the sink has this event, which lies after its cursor |
//! | `x` ID | a [`DeadRow`], in the order in which they died, which the ID begins with |
//!
//! Numbers in keys are big-endian. No name of a plugin or sink has a zero byte.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message;

use super::{CallId, DeadLetter, DeferredCall, EventHeader};
use crate::capability::Namespace;
use crate::capability::store::outbox::Position;

/// All acknowledgements.
pub(in crate::capability::store) const ACKNOWLEDGEMENTS: Range<&[u8]> = b"a".as_slice()..b"b".as_slice();
/// What is pending, of all plugins.
pub(super) const CALLS: Range<&[u8]> = b"c".as_slice()..b"d".as_slice();
/// The same, in the order of time.
pub(super) const DUE: Range<&[u8]> = b"d".as_slice()..b"e".as_slice();
pub(super) const DEAD: Range<&[u8]> = b"x".as_slice()..b"y".as_slice();

pub(super) fn call(plugin: &Namespace, id: &CallId) -> Bytes {
    [b"c", plugin.as_str().as_bytes(), b"\0", id.as_str().as_bytes()]
        .concat()
        .into()
}

pub(super) fn due(plugin: &Namespace, due: SystemTime, id: &CallId) -> Bytes {
    let prefix = due_prefix(plugin);
    [&prefix[..], &nanos(due).to_be_bytes(), id.as_str().as_bytes()]
        .concat()
        .into()
}

fn due_prefix(plugin: &Namespace) -> Vec<u8> {
    [b"d", plugin.as_str().as_bytes(), b"\0"].concat()
}

/// What is due of one plugin, from the first on.
pub(super) fn due_of(plugin: &Namespace) -> Range<Vec<u8>> {
    let start = due_prefix(plugin);
    let end = [b"d", plugin.as_str().as_bytes(), b"\x01"].concat();
    start..end
}

/// Time and id of a key under `d`.
pub(super) fn read_due(key: &[u8]) -> Option<(SystemTime, CallId)> {
    let (rest, id) = key.split_at_checked(key.len().checked_sub(CallId::BYTES)?)?;
    let due = rest.last_chunk()?;
    let id = CallId::parse(str::from_utf8(id).ok()?)?;
    Some((time(u64::from_be_bytes(*due)), id))
}

pub(super) fn acknowledgement(sink: &str, position: Position) -> Bytes {
    let (sequence, index) = (position.sequence.to_be_bytes(), position.index.to_be_bytes());
    [b"a", sink.as_bytes(), b"\0", &sequence[..], &index[..]]
        .concat()
        .into()
}

/// Sink and event of a key under `a`.
pub(in crate::capability::store) fn acknowledged(key: &[u8]) -> Option<(&str, Position)> {
    let (rest, index) = key.split_last_chunk()?;
    let (rest, sequence) = rest.split_last_chunk()?;
    let sink = rest.strip_prefix(b"a")?.strip_suffix(b"\0")?;
    let position = Position {
        sequence: u64::from_be_bytes(*sequence),
        index: u32::from_be_bytes(*index),
    };
    Some((str::from_utf8(sink).ok()?, position))
}

pub(super) fn dead(id: &CallId) -> Bytes {
    [b"x", id.as_str().as_bytes()].concat().into()
}

/// A new id for a dead letter, in the order of time.
pub(super) fn dead_id(died: SystemTime) -> CallId {
    CallId(format!("{:016x}{:016x}", nanos(died), rand::random::<u64>()).into())
}

/// The plugin of a key under `c` or `d`.
pub(super) fn plugin_of(key: &[u8]) -> Option<Namespace> {
    let name = key.get(1..)?.split(|byte| *byte == 0).next()?;
    Namespace::new(str::from_utf8(name).ok()?).ok()
}

/// The plugin and the bytes of a pending call, from its row under `d`.
pub(super) fn pending_bytes(key: &[u8], value: &[u8]) -> Option<(Namespace, usize)> {
    let bytes = u64::from_be_bytes(value.try_into().ok()?);
    Some((plugin_of(key)?, usize::try_from(bytes).ok()?))
}

/// Nanoseconds since the Unix epoch; the year 2554 is the last.
pub(in crate::capability::store) fn nanos(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn time(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}

/// A [`DeferredCall`] as it is stored.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CallRow {
    #[prost(string, tag = "1")]
    method: String,
    #[prost(bytes = "bytes", tag = "2")]
    request: Bytes,
    #[prost(uint64, tag = "3")]
    due: u64,
    #[prost(uint32, tag = "4")]
    failures: u32,
    #[prost(string, tag = "5")]
    last_error: String,
    #[prost(uint32, tag = "6")]
    hops: u32,
    #[prost(message, optional, tag = "7")]
    event: Option<EventRow>,
}

#[derive(Clone, PartialEq, Message)]
struct EventRow {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    source: String,
    #[prost(string, tag = "3")]
    topic: String,
    #[prost(string, tag = "4")]
    key: String,
    #[prost(uint64, tag = "5")]
    time: u64,
    #[prost(string, tag = "6")]
    subscription: String,
}

/// A [`DeadLetter`] as it is stored.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DeadRow {
    #[prost(string, tag = "1")]
    plugin: String,
    #[prost(uint64, tag = "2")]
    died: u64,
    #[prost(string, tag = "3")]
    call_id: String,
    #[prost(message, required, tag = "4")]
    call: CallRow,
}

impl DeferredCall {
    pub(super) fn encode(&self) -> Bytes {
        self.row().encode_to_vec().into()
    }

    fn row(&self) -> CallRow {
        let event = self.event.as_ref().map(|event| EventRow {
            id: event.id.clone(),
            source: event.source.clone(),
            topic: event.topic.clone(),
            key: event.key.clone(),
            time: nanos(event.time),
            subscription: event.subscription.clone(),
        });
        CallRow {
            method: self.method.clone(),
            request: self.request.clone(),
            due: nanos(self.due),
            failures: self.failures,
            last_error: self.last_error.clone(),
            hops: self.hops,
            event,
        }
    }

    pub(super) fn decode(plugin: Namespace, id: CallId, value: &[u8]) -> Option<Self> {
        let row = CallRow::decode(value).ok()?;
        Some(Self::from_row(plugin, id, row))
    }

    fn from_row(plugin: Namespace, id: CallId, row: CallRow) -> Self {
        let event = row.event.map(|event| EventHeader {
            id: event.id,
            source: event.source,
            topic: event.topic,
            key: event.key,
            time: time(event.time),
            subscription: event.subscription,
        });
        Self {
            id,
            plugin,
            method: row.method,
            request: row.request,
            due: time(row.due),
            failures: row.failures,
            last_error: row.last_error,
            hops: row.hops,
            event,
        }
    }
}

impl DeadLetter {
    pub(super) fn encode(&self) -> Bytes {
        let row = DeadRow {
            plugin: self.call.plugin.to_string(),
            died: nanos(self.died),
            call_id: self.call.id.to_string(),
            call: self.call.row(),
        };
        row.encode_to_vec().into()
    }

    pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let id = CallId::parse(str::from_utf8(key.strip_prefix(b"x")?).ok()?)?;
        let row = DeadRow::decode(value).ok()?;
        let (plugin, call_id) = (Namespace::new(&row.plugin).ok()?, CallId::parse(&row.call_id)?);
        Some(Self {
            id,
            died: time(row.died),
            call: DeferredCall::from_row(plugin, call_id, row.call),
        })
    }
}
