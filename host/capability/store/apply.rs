//! What a batch of commits changes in the database, row by row.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use redb::WriteTransaction;

use super::change::Accepted;
use super::layout;
use super::transaction::Write;
use super::usage::UsageByPlugin;
use crate::capability::Namespace;

/// Returns the plugins whose usage may have changed.
pub(super) fn writes(
    transaction: &WriteTransaction,
    accepted: &[Accepted],
    usage: &mut UsageByPlugin,
) -> Result<BTreeSet<Namespace>, redb::Error> {
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
        let usage = usage.entry(change.namespace.clone()).or_default();
        for (key, write) in &change.writes {
            let replaced = match write {
                Write::Put(value) => {
                    usage.keys += 1;
                    usage.bytes += (key.len() + value.len()) as u64;
                    table.insert(&**key, (*sequence, &**value))?
                }
                Write::Delete => table.remove(&**key)?,
            };
            if let Some(replaced) = replaced {
                usage.keys = usage.keys.saturating_sub(1);
                let bytes = (key.len() + replaced.value().1.len()) as u64;
                usage.bytes = usage.bytes.saturating_sub(bytes);
            }
        }
    }
    Ok(tables.into_keys().cloned().collect())
}

pub(super) fn host_rows(transaction: &WriteTransaction, accepted: &[Accepted]) -> Result<(), redb::Error> {
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

pub(super) fn events(
    transaction: &WriteTransaction,
    accepted: &[Accepted],
    now: u64,
) -> Result<(), redb::Error> {
    if accepted.iter().all(|accepted| accepted.change.events.is_empty()) {
        return Ok(());
    }
    let mut outbox = transaction.open_table(layout::OUTBOX)?;
    for Accepted { sequence, change } in accepted {
        for (index, event) in (0..).zip(&change.events) {
            outbox.insert((*sequence, index), event.row(now, change.hops, &change.namespace))?;
        }
    }
    Ok(())
}
