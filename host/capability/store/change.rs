use std::collections::BTreeMap;

use bytes::Bytes;

use super::answers::StagedAnswer;
use super::deferred::HostRows;
use super::outbox::StagedEvent;
use super::transaction::Write;
use crate::capability::Namespace;

/// What a transaction changes.
#[derive(Debug)]
pub(super) struct Change {
    /// The plugin's name.
    pub(super) namespace: Namespace,
    pub(super) writes: BTreeMap<Bytes, Write>,
    pub(super) events: Vec<StagedEvent>,
    pub(super) answer: StagedAnswer,
    /// How many deliveries of events led to it.
    pub(super) hops: u32,
    pub(super) host: HostRows,
}

/// A validated transaction and its place in the order.
pub(super) struct Accepted {
    pub(super) sequence: u64,
    pub(super) change: Change,
}
