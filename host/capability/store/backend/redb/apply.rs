//! What a batch of commits changes in the database, row by row.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::layout;
use crate::capability::Namespace;
use crate::capability::store::backend::{Batch, MAX_SWEPT, State};
use crate::capability::store::change::Accepted;
use crate::capability::store::deferred::ACKNOWLEDGEMENTS;
use crate::capability::store::outbox::event_bytes;
use crate::capability::store::transaction::Write;

/// All of it.
pub(super) fn batch(
    transaction: &WriteTransaction,
    batch: &Batch<'_>,
    state: &mut State,
) -> Result<(), redb::Error> {
    let mut changed = writes(transaction, batch.accepted, state)?;
    host_rows(transaction, batch.accepted)?;
    events(transaction, batch)?;
    answers(transaction, batch, state, &mut changed)?;
    usage(transaction, state, &changed)?;
    if batch.cursors_moved {
        cursors(transaction, state)?;
    }
    let mut meta = transaction.open_table(layout::META)?;
    meta.insert(layout::META_SEQUENCE, state.sequence)?;
    meta.insert(layout::META_OUTBOX_BYTES, state.outbox_bytes)?;
    Ok(())
}

/// The plugins whose usage may have changed.
type Changed = BTreeSet<Namespace>;

fn writes(
    transaction: &WriteTransaction,
    accepted: &[Accepted],
    state: &mut State,
) -> Result<Changed, redb::Error> {
    let mut tables = HashMap::new();
    for Accepted { sequence, change } in accepted {
        if change.writes.is_empty() {
            continue;
        }
        let table = match tables.entry(&change.namespace) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(closed) => {
                closed.insert(transaction.open_table(layout::data(change.namespace.as_str()))?)
            }
        };
        let usage = state.usage.entry(change.namespace.clone()).or_default();
        for (key, write) in &change.writes {
            let replaced = match write {
                Write::Put(value) => {
                    usage.add_entry(key, value.len());
                    table.insert(&**key, (*sequence, &**value))?
                }
                Write::Delete => table.remove(&**key)?,
            };
            if let Some(replaced) = replaced {
                usage.remove_entry(key, replaced.value().1.len());
            }
        }
    }
    Ok(tables.into_keys().cloned().collect())
}

fn host_rows(transaction: &WriteTransaction, accepted: &[Accepted]) -> Result<(), redb::Error> {
    if accepted.iter().all(|accepted| accepted.change.host.is_empty()) {
        return Ok(());
    }
    let mut table = transaction.open_table(layout::HOST)?;
    for Accepted { sequence, change } in accepted {
        for (key, write) in &change.host.writes {
            match write {
                Write::Put(value) => table.insert(&**key, (*sequence, &**value))?,
                Write::Delete => table.remove(&**key)?,
            };
        }
    }
    Ok(())
}

fn events(transaction: &WriteTransaction, batch: &Batch<'_>) -> Result<(), redb::Error> {
    if batch
        .accepted
        .iter()
        .all(|accepted| accepted.change.events.is_empty())
    {
        return Ok(());
    }
    let mut outbox = transaction.open_table(layout::OUTBOX)?;
    for Accepted { sequence, change } in batch.accepted {
        let plugin = change.namespace.as_str();
        for (index, event) in (0..).zip(&change.events) {
            let (topic, key) = (event.topic(), event.key());
            let row = (batch.time, change.hops, plugin, topic, key, &**event.payload());
            outbox.insert((*sequence, index), row)?;
        }
    }
    Ok(())
}

/// Those that were recorded, and the oldest of those that have expired.
fn answers(
    transaction: &WriteTransaction,
    batch: &Batch<'_>,
    state: &mut State,
    changed: &mut Changed,
) -> Result<(), redb::Error> {
    let changes = batch.accepted.iter().map(|accepted| &accepted.change);
    let mut recorded = changes
        .filter_map(|change| Some((&change.namespace, change.answer.recorded()?)))
        .peekable();
    let is_due = state.oldest_answer.is_some_and(|oldest| oldest <= batch.expired);
    if recorded.peek().is_none() && !is_due {
        return Ok(());
    }
    let mut answers = transaction.open_table(layout::ANSWERS)?;
    let mut ages = transaction.open_table(layout::ANSWER_AGES)?;
    let mut forget = |row: (u64, &str, &[u8]), state: &mut State| {
        let (_, plugin, answer) = row;
        // A row's plugin was a namespace when the row was written.
        if let Ok(plugin) = Namespace::new(plugin) {
            let usage = state.usage.entry(plugin.clone()).or_default();
            usage.remove_answer(answer);
            changed.insert(plugin);
        }
    };
    let mut owners = BTreeSet::new();
    for (plugin, (key, answer)) in recorded {
        if let Some(replaced) = answers.insert(key, (batch.time, plugin.as_str(), &**answer))? {
            ages.remove((replaced.value().0, key))?;
            forget(replaced.value(), state);
        }
        ages.insert((batch.time, key), ())?;
        state.usage.entry(plugin.clone()).or_default().add_answer(answer);
        owners.insert(plugin.clone());
    }
    let rows = ages.range(..=(batch.expired, &[0xff; 32]))?.take(MAX_SWEPT);
    let keys = rows.map(|row| {
        let (age, _) = row?;
        let (recorded, key) = age.value();
        Ok((recorded, *key))
    });
    let keys: Vec<_> = keys.collect::<Result<_, redb::StorageError>>()?;
    for (recorded, key) in keys {
        ages.remove((recorded, &key))?;
        if let Some(row) = answers.remove(&key)? {
            forget(row.value(), state);
        }
    }
    changed.extend(owners);
    state.oldest_answer = oldest_answer(&ages)?;
    Ok(())
}

pub(super) fn oldest_answer(
    ages: &impl ReadableTable<layout::AnswerAge, ()>,
) -> Result<Option<u64>, redb::StorageError> {
    Ok(ages.first()?.map(|(age, _)| age.value().0))
}

fn usage(transaction: &WriteTransaction, state: &State, changed: &Changed) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(layout::USAGE)?;
    for plugin in changed {
        let usage = state.usage.get(plugin).copied().unwrap_or_default();
        table.insert(plugin.as_str(), layout::usage(usage))?;
    }
    Ok(())
}

/// Writes the cursors, and drops what they have passed.
fn cursors(transaction: &WriteTransaction, state: &mut State) -> Result<(), redb::Error> {
    let mut cursors = transaction.open_table(layout::CURSORS)?;
    cursors.retain(|sink, _| state.cursors.contains_key(sink))?;
    for (sink, position) in &state.cursors {
        cursors.insert(&**sink, (position.sequence, position.index))?;
    }
    let mut host = transaction.open_table(layout::HOST)?;
    host.retain_in(ACKNOWLEDGEMENTS, |key, _| !state.has_passed(key))?;
    if let Some(through) = state.delivered() {
        let mut outbox = transaction.open_table(layout::OUTBOX)?;
        let mut bytes = 0;
        for row in outbox.extract_from_if(..=(through.sequence, through.index), |_, _| true)? {
            let (_, row) = row?;
            let (_, _, _, topic, key, payload) = row.value();
            bytes += event_bytes(topic, key, payload) as u64;
        }
        state.outbox_entries = outbox.len()?;
        state.outbox_bytes = state.outbox_bytes.saturating_sub(bytes);
    }
    Ok(())
}
