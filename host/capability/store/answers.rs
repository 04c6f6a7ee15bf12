//! Answers recorded under idempotency keys. They commit with the call's writes, and expire.
//!
//! A transaction that records under a key has looked it up before, so two calls with one key are in conflict
//! like any two that read and write the same: one of them runs again and finds the other's answer.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::change::Accepted;
use super::layout;
use super::options::AnswerOptions;
use super::transaction::Transaction;
use super::usage::UsageByPlugin;
use crate::capability::{Error, Namespace};

/// Identifies an answer: a hash of all that its idempotency key is scoped by.
pub type AnswerKey = [u8; 32];

/// What a record costs besides the answer: its key in two tables, and two times.
const OVERHEAD_BYTES: u64 = 128;

/// The most answers dropped by one batch of commits, which bounds how long sweeping delays them.
const MAX_SWEPT: usize = 1_024;

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
        self.table()?;
        let Some(snapshot) = self.snapshot() else {
            return Ok(None);
        };
        let answers = snapshot.read.open_table(layout::ANSWERS);
        let answers = answers.map_err(|e| self.store.table_failed(e))?;
        let found = answers.get(&key).map_err(|e| self.store.read_failed(&e))?;
        Ok(found.and_then(|row| {
            let (recorded, _, answer) = row.value();
            let expired = self.store.options.answers.expired(recorded);
            (!expired).then(|| Bytes::copy_from_slice(answer))
        }))
    }

    /// Stages `answer` under the key that was looked up. It makes the transaction one that has something to
    /// commit.
    pub fn record_answer(&mut self, answer: Bytes) {
        self.answer.answer = Some(answer);
    }
}

/// What the committer knows of the recorded answers without reading them.
pub(super) struct Answers {
    options: AnswerOptions,
    /// When the oldest was recorded.
    oldest: Option<u64>,
}

impl Answers {
    pub(super) fn read(transaction: &ReadTransaction, options: &AnswerOptions) -> Result<Self, redb::Error> {
        Ok(Self {
            options: options.clone(),
            oldest: oldest(&transaction.open_table(layout::ANSWER_AGES)?)?,
        })
    }

    /// The time, in nanoseconds since the Unix epoch.
    pub(super) fn now(&self) -> u64 {
        self.options.now()
    }

    /// Whether there is something to sweep.
    pub(super) fn due(&self) -> bool {
        self.oldest.is_some_and(|recorded| self.options.expired(recorded))
    }

    /// Writes the answers that were `accepted` at `now`, and drops some that have expired. Returns the
    /// plugins whose usage changed.
    pub(super) fn apply(
        &mut self,
        transaction: &WriteTransaction,
        accepted: &[Accepted],
        now: u64,
        usage: &mut UsageByPlugin,
    ) -> Result<BTreeSet<Namespace>, redb::Error> {
        let mut changed = BTreeSet::new();
        let changes = accepted.iter().map(|accepted| &accepted.change);
        let mut recorded = changes
            .filter_map(|change| Some((&change.namespace, change.answer.recorded()?)))
            .peekable();
        if recorded.peek().is_none() && !self.due() {
            return Ok(changed);
        }
        let mut answers = transaction.open_table(layout::ANSWERS)?;
        let mut ages = transaction.open_table(layout::ANSWER_AGES)?;
        let forget = |row: (u64, &str, &[u8]), changed: &mut BTreeSet<_>, usage: &mut UsageByPlugin| {
            let (_, plugin, answer) = row;
            // A row's plugin was a namespace when the row was written.
            if let Ok(plugin) = Namespace::new(plugin) {
                let usage = usage.entry(plugin.clone()).or_default();
                usage.answers = usage.answers.saturating_sub(1);
                usage.answer_bytes = usage.answer_bytes.saturating_sub(counted_bytes(answer));
                changed.insert(plugin);
            }
        };
        for (plugin, (key, answer)) in recorded {
            if let Some(expired) = answers.insert(key, (now, plugin.as_str(), &**answer))? {
                ages.remove((expired.value().0, key))?;
                forget(expired.value(), &mut changed, usage);
            }
            ages.insert((now, key), ())?;
            let usage = usage.entry(plugin.clone()).or_default();
            usage.answers += 1;
            usage.answer_bytes += counted_bytes(answer);
            changed.insert(plugin.clone());
        }
        let expired = now.saturating_sub(nanos(self.options.retention));
        let rows = ages.range(..=(expired, &[0xff; 32]))?.take(MAX_SWEPT);
        let keys = rows.map(|row| {
            let (age, _) = row?;
            let (recorded, key) = age.value();
            Ok((recorded, *key))
        });
        let keys: Vec<_> = keys.collect::<Result<_, redb::StorageError>>()?;
        for (recorded, key) in keys {
            ages.remove((recorded, &key))?;
            if let Some(row) = answers.remove(&key)? {
                forget(row.value(), &mut changed, usage);
            }
        }
        self.oldest = oldest(&ages)?;
        Ok(changed)
    }
}

fn oldest(ages: &impl ReadableTable<layout::AnswerAge, ()>) -> Result<Option<u64>, redb::Error> {
    Ok(ages.first()?.map(|(age, _)| age.value().0))
}

impl AnswerOptions {
    fn expired(&self, recorded: u64) -> bool {
        recorded.saturating_add(nanos(self.retention)) <= self.now()
    }

    /// Nanoseconds since the Unix epoch.
    fn now(&self) -> u64 {
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
