//! What each plugin keeps in the store, counted exactly and in the same transactions.

use std::collections::BTreeMap;

use super::answers::counted_bytes;
use crate::capability::Namespace;

/// What one plugin keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys in its table.
    pub keys: u64,
    /// Bytes of those keys and their values.
    pub bytes: u64,
    /// Answers recorded under idempotency keys.
    pub answers: u64,
    /// Bytes of those answers, with what it costs to find and to expire each.
    pub answer_bytes: u64,
}

impl Usage {
    pub(super) fn add_entry(&mut self, key: &[u8], value_bytes: usize) {
        self.keys += 1;
        self.bytes += (key.len() + value_bytes) as u64;
    }

    pub(super) fn remove_entry(&mut self, key: &[u8], value_bytes: usize) {
        self.keys = self.keys.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub((key.len() + value_bytes) as u64);
    }

    pub(super) fn add_answer(&mut self, answer: &[u8]) {
        self.answers += 1;
        self.answer_bytes += counted_bytes(answer);
    }

    pub(super) fn remove_answer(&mut self, answer: &[u8]) {
        self.answers = self.answers.saturating_sub(1);
        self.answer_bytes = self.answer_bytes.saturating_sub(counted_bytes(answer));
    }
}

/// That of every plugin that ever wrote something.
pub(super) type UsageByPlugin = BTreeMap<Namespace, Usage>;
