//! Answers recorded under idempotency keys. They commit with the call's writes, and expire.
//!
//! A transaction that records under a key has looked it up before, so two calls with one key are in conflict
//! like any two that read and write the same: one of them runs again and finds the other's answer.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::options::AnswerOptions;
use super::transaction::Transaction;
use crate::capability::Error;

/// Identifies an answer: a hash of all that its idempotency key is scoped by.
pub type AnswerKey = [u8; 32];

/// What a record costs besides the answer: its key in two tables, and two times.
const OVERHEAD_BYTES: u64 = 128;

/// What an answer counts against the plugin's bound.
pub(super) fn counted_bytes(answer: &[u8]) -> u64 {
    answer.len() as u64 + OVERHEAD_BYTES
}

/// The answer that a transaction looks for and then records.
#[derive(Debug, Default)]
pub(super) struct StagedAnswer {
    pub(super) key: Option<AnswerKey>,
    pub(super) answer: Option<Bytes>,
}

impl StagedAnswer {
    pub(super) fn bytes(&self) -> usize {
        self.answer.as_ref().map_or(0, Bytes::len)
    }

    pub(super) fn recorded(&self) -> Option<(&AnswerKey, &Bytes)> {
        Some((self.key.as_ref()?, self.answer.as_ref()?))
    }
}

impl Transaction {
    /// The answer recorded under `key`, unless it has expired. From here on `key` is the one to
    /// [record](Self::record_answer) under.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub fn recorded_answer(&mut self, key: AnswerKey) -> Result<Option<Bytes>, Error> {
        self.answer.key = Some(key);
        let found = self.pinned_snapshot()?.reader.answer(&key);
        let found = found.map_err(|e| self.store.read_failed(&e))?;
        let current = found.filter(|recorded| !self.store.options.answers.expired(recorded.time));
        Ok(current.map(|recorded| recorded.answer))
    }

    /// Stages `answer` under the key that was looked up. It makes the transaction one that has something to
    /// commit.
    pub fn record_answer(&mut self, answer: Bytes) {
        self.answer.answer = Some(answer);
    }
}

impl AnswerOptions {
    pub(super) fn expired(&self, recorded: u64) -> bool {
        recorded.saturating_add(nanos(self.retention)) <= self.now()
    }

    /// What was recorded by then has expired at `now`.
    pub(super) fn expired_by(&self, now: u64) -> u64 {
        now.saturating_sub(nanos(self.retention))
    }

    /// Nanoseconds since the Unix epoch.
    pub(super) fn now(&self) -> u64 {
        nanos(
            (self.clock)()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        )
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
