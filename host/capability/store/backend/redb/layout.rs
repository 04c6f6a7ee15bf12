//! What is in the file. A plugin's table bears its namespace's name; the host's tables begin with `/`, which
//! no namespace can contain.

use redb::TableDefinition;

use crate::capability::store::usage::Usage;

/// The version of everything below. It changes when an older host could not read what a newer one writes.
pub(in crate::capability::store) const FORMAT_VERSION: u64 = 3;

/// Single numbers, by the keys below.
pub(super) const META: TableDefinition<'static, &str, u64> = TableDefinition::new("/meta");
pub(super) const META_FORMAT: &str = "format";
/// The sequence number of the last commit.
pub(super) const META_SEQUENCE: &str = "sequence";
/// Bytes of the events in [`OUTBOX`], as `StagedEvent::bytes` counts them.
pub(super) const META_OUTBOX_BYTES: &str = "outbox-bytes";

/// How many records of the write-ahead log are in the database.
pub(super) const META_LOGGED: &str = "logged";

/// The key of the write-ahead log's records.
pub(super) const LOG_KEY: TableDefinition<'static, (), &[u8; 32]> = TableDefinition::new("/log-key");

/// Commit sequence number and index within the commit.
pub(super) type OutboxKey = (u64, u32);
/// Nanoseconds since the Unix epoch, hops, plugin, topic, key, payload.
pub(super) type OutboxRow = (u64, u32, &'static str, &'static str, &'static str, &'static [u8]);
/// Events that some sink has not acknowledged.
pub(super) const OUTBOX: TableDefinition<'static, OutboxKey, OutboxRow> = TableDefinition::new("/outbox");
/// Per sink, the last event it acknowledged; (0, 0) if none, because sequence numbers begin at 1.
pub(super) const CURSORS: TableDefinition<'static, &str, OutboxKey> = TableDefinition::new("/cursors");

/// The sequence number of the commit that wrote the value, and the value. Keeping the plugins in tables of
/// their own also keeps their data in pages of their own.
pub(super) type DataRow = (u64, &'static [u8]);

pub(super) fn data(namespace: &str) -> TableDefinition<'_, &'static [u8], DataRow> {
    TableDefinition::new(namespace)
}

/// Rows of the host's own that change in the transactions of plugins: see `deferred`.
pub(super) const HOST: TableDefinition<'static, &'static [u8], DataRow> = TableDefinition::new("/host");

/// A plugin's entries and recorded answers, as `Usage` counts them.
pub(super) type UsageRow = (u64, u64, u64, u64);
/// By the plugin's name.
pub(super) const USAGE: TableDefinition<'static, &str, UsageRow> = TableDefinition::new("/usage");

pub(super) fn usage(usage: Usage) -> UsageRow {
    (usage.keys, usage.bytes, usage.answers, usage.answer_bytes)
}

/// When it was recorded, in nanoseconds since the Unix epoch; the plugin; the answer.
pub(super) type AnswerRow = (u64, &'static str, &'static [u8]);
/// Answers recorded under idempotency keys.
pub(super) const ANSWERS: TableDefinition<'static, &'static [u8; 32], AnswerRow> =
    TableDefinition::new("/answers");
/// When an answer was recorded, and its key.
pub(super) type AnswerAge = (u64, &'static [u8; 32]);
/// The keys of [`ANSWERS`] from the oldest to the newest.
pub(super) const ANSWER_AGES: TableDefinition<'static, AnswerAge, ()> = TableDefinition::new("/answer-ages");
