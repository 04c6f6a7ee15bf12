use std::ops::Bound;
use std::time::SystemTime;

use super::queue::{DeferredCalls, Page};
use super::rows;
use super::{CallId, DeferredCall, Errand};
use crate::capability::Error;
use crate::capability::store::transaction::Transaction;

/// A call that the host has given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which one it is; of those that died earlier it is smaller.
    pub id: CallId,
    /// When the host gave it up.
    pub died: SystemTime,
    /// The call, with its last error.
    pub call: DeferredCall,
}

impl DeadLetter {
    pub(super) fn of(call: DeferredCall) -> Self {
        let died = SystemTime::now();
        Self {
            id: rows::dead_id(died),
            died,
            call,
        }
    }
}

impl DeferredCalls {
    /// A page of all dead letters, the oldest first.
    ///
    /// # Errors
    /// If the store is unavailable, or `after` is not [`Page::next`] of the page before.
    pub fn dead_letters(&self, after: Option<&str>, limit: usize) -> Result<Page<DeadLetter>, Error> {
        let start = match after {
            None => Bound::Included(rows::DEAD.start.to_vec()),
            Some(cursor) => {
                let id = CallId::parse(cursor)
                    .ok_or_else(|| Error::invalid("this is not where a page of dead letters ended"))?;
                Bound::Excluded(rows::dead(&id).to_vec())
            }
        };
        let shared = &self.store.shared;
        let between = (start.as_ref().map(Vec::as_slice), Bound::Excluded(rows::DEAD.end));
        let found = shared
            .durable_snapshot()?
            .host_rows(between, limit.saturating_add(1));
        let found = found.map_err(|e| shared.read_failed(&e))?;
        let letters = found
            .iter()
            .filter_map(|row| DeadLetter::decode(&row.key, &row.value));
        let mut entries: Vec<_> = letters.collect();
        let more = entries.len() > limit;
        entries.truncate(limit);
        let last = entries.last().map(|letter| letter.id.to_string());
        Ok(Page {
            entries,
            next: last.filter(|_| more),
        })
    }

    /// Makes a deferred call of a dead letter again, due at once; false if there is none of this id.
    ///
    /// # Errors
    /// If the store is unavailable, or the plugin has too many pending.
    pub async fn retry(&self, id: &CallId) -> Result<bool, Error> {
        let Some(found) = self.find(id)? else {
            return Ok(false);
        };
        let retried = self.change(&found.call.plugin, |transaction| {
            let Some(letter) = transaction.dead_letter(id)? else {
                return Ok(false);
            };
            transaction.remove_dead_letter(&letter);
            let call = DeferredCall {
                id: CallId::random(),
                due: SystemTime::now(),
                failures: 0,
                ..letter.call
            };
            let row = call.encode();
            transaction.put_deferred(&call, row);
            Ok(true)
        });
        retried.await
    }

    /// Forgets a dead letter; false if there is none of this id.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn drop_dead_letter(&self, id: &CallId) -> Result<bool, Error> {
        let Some(found) = self.find(id)? else {
            return Ok(false);
        };
        let dropped = self.change(&found.call.plugin, |transaction| {
            let Some(letter) = transaction.dead_letter(id)? else {
                return Ok(false);
            };
            transaction.remove_dead_letter(&letter);
            Ok(true)
        });
        dropped.await
    }

    /// Gives up an event that no call of a plugin has settled; false if one has after all.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub(crate) async fn give_up(&self, errand: &Errand, call: DeferredCall) -> Result<bool, Error> {
        let plugin = call.plugin.clone();
        let letter = DeadLetter::of(call);
        let mut dropped = 0;
        let given_up = self.change(&plugin, |transaction| {
            if !transaction.settle(errand)? {
                return Ok(false);
            }
            dropped = self.make_room(transaction, &letter)?;
            transaction.put_dead_letter(&letter);
            Ok(true)
        });
        let given_up = given_up.await?;
        if given_up {
            self.count_dead(dropped);
        }
        Ok(given_up)
    }

    fn find(&self, id: &CallId) -> Result<Option<DeadLetter>, Error> {
        let key = rows::dead(id);
        let shared = &self.store.shared;
        let row = shared.durable_snapshot()?.host_row(&key);
        let row = row.map_err(|e| shared.read_failed(&e))?;
        Ok(row.and_then(|value| DeadLetter::decode(&key, &value)))
    }

    /// Drops the oldest dead letters as far as one more needs room.
    pub(super) fn make_room(&self, transaction: &mut Transaction, new: &DeadLetter) -> Result<u64, Error> {
        let shared = &self.store.shared;
        let bounds = &shared.options.deferred;
        let dead = self.dead();
        let mut count = (dead.count + 1).saturating_sub(bounds.max_dead_letters);
        let mut bytes = (dead.bytes + new.encode().len() as u64).saturating_sub(bounds.max_dead_letter_bytes);
        let (mut after, mut dropped) = (None, 0);
        while count > 0 || bytes > 0 {
            let page = self.dead_letters(after.as_deref(), 16)?;
            for oldest in page.entries {
                if count == 0 && bytes == 0 {
                    break;
                }
                if let Some(oldest) = transaction.dead_letter(&oldest.id)? {
                    count = count.saturating_sub(1);
                    bytes = bytes.saturating_sub(oldest.encode().len() as u64);
                    transaction.remove_dead_letter(&oldest);
                    dropped += 1;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(dropped)
    }

    /// One more was committed, for which some had to make way.
    pub(super) fn count_dead(&self, dropped: u64) {
        let metrics = &self.store.shared.metrics;
        metrics.dead_letters.increment();
        metrics.dead_letters_dropped.add(dropped);
    }
}
