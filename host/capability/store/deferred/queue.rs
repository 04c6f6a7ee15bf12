use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::levels::Levels;
use super::rows;
use super::{Amount, CallId, DeadLetter, DeferredCall};
use crate::capability::store::submission::CommitError;
use crate::capability::store::transaction::{Access, Transaction};
use crate::capability::store::{Health, Store, unavailable};
use crate::capability::{Error, Namespace};

/// How often a change of the host's own is tried when others get in its way.
const MAX_ATTEMPTS: u32 = 32;

/// The calls that the host is to make later, and those that it has given up.
#[derive(Debug, Clone)]
pub struct DeferredCalls {
    pub(super) store: Store,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of the list.
    pub entries: Vec<T>,
    /// What the next page comes after; none if this is the last.
    pub next: Option<String>,
}

/// What has become of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// It is made again later.
    Postponed,
    /// It is a dead letter now.
    Dead,
    /// It was settled or cancelled meanwhile.
    Gone,
}

impl DeferredCalls {
    pub(in crate::capability::store) fn new(store: Store) -> Self {
        Self { store }
    }

    /// What each plugin has pending. Those that have nothing are left out. Nothing while the store is
    /// unavailable.
    pub fn pending(&self) -> BTreeMap<Namespace, Amount> {
        let snapshot = self.store.shared.snapshot.load();
        let levels = snapshot.as_ref().map(|snapshot| &snapshot.deferred);
        levels.map(|levels| levels.pending().clone()).unwrap_or_default()
    }

    /// Dead letters that are kept.
    pub fn dead(&self) -> Amount {
        let snapshot = self.store.shared.snapshot.load();
        let levels = snapshot.as_ref().map(|snapshot| &snapshot.deferred);
        levels.map(Levels::dead).unwrap_or_default()
    }

    /// Whether the store is closed for good. One that has failed may come back.
    pub(crate) fn is_closed(&self) -> bool {
        self.store.health() == Health::Closed
    }

    /// Changes whenever scheduled calls have become durable, and when the store ends, fails or is opened
    /// anew.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.store.shared.scheduled.subscribe()
    }

    /// The first `limit` calls of `plugin` that are on the disk, in the order of their time. One that was
    /// settled or cancelled by a commit that is not on the disk yet is among them.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub fn first(&self, plugin: &Namespace, limit: usize) -> Result<Vec<(SystemTime, CallId)>, Error> {
        self.due(plugin, Bound::Unbounded, limit)
    }

    fn due(
        &self,
        plugin: &Namespace,
        after: Bound<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<(SystemTime, CallId)>, Error> {
        let shared = &self.store.shared;
        let range = rows::due_of(plugin);
        let start = match after {
            Bound::Unbounded => Bound::Included(range.start),
            after => after,
        };
        let between = (start.as_ref().map(Vec::as_slice), Bound::Excluded(&*range.end));
        let found = shared.durable_snapshot()?.host_rows(between, limit);
        let found = found.map_err(|e| shared.read_failed(&e))?;
        Ok(found.iter().filter_map(|row| rows::read_due(&row.key)).collect())
    }

    /// One call; none if it is settled or cancelled.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub fn get(&self, plugin: &Namespace, id: &CallId) -> Result<Option<DeferredCall>, Error> {
        self.store.begin(plugin, Access::ReadOnly).deferred(id)
    }

    /// A page of what `plugin` has pending, in the order of time.
    ///
    /// # Errors
    /// If the store is unavailable, or `after` is not [`Page::next`] of the page before.
    pub fn list(
        &self,
        plugin: &Namespace,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<DeferredCall>, Error> {
        let after = match after {
            None => Bound::Unbounded,
            Some(cursor) => Bound::Excluded(self.cursor(plugin, cursor)?),
        };
        let mut due = self.due(plugin, after, limit.saturating_add(1))?;
        let more = due.len() > limit;
        due.truncate(limit);
        let last = due
            .last()
            .map(|(due, id)| format!("{:016x}{id}", rows::nanos(*due)));
        let mut entries = Vec::with_capacity(due.len());
        for (_, id) in due {
            // One that was settled since is left out.
            entries.extend(self.get(plugin, &id)?);
        }
        Ok(Page {
            entries,
            next: last.filter(|_| more),
        })
    }

    /// The key that a cursor stands for.
    fn cursor(&self, plugin: &Namespace, cursor: &str) -> Result<Vec<u8>, Error> {
        let parse = || {
            let (due, id) = cursor.split_at_checked(16)?;
            let due = rows::time(u64::from_str_radix(due, 16).ok()?);
            Some(rows::due(plugin, due, &CallId::parse(id)?))
        };
        let key = parse().ok_or_else(|| Error::invalid("this is not where a page of timers ended"))?;
        Ok(key.to_vec())
    }

    /// Takes back a call of any kind; false if there is none of this id.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub async fn cancel(&self, plugin: &Namespace, id: &CallId) -> Result<bool, Error> {
        self.change(plugin, |transaction| match transaction.deferred(id)? {
            Some(call) => {
                transaction.remove_deferred(&call);
                Ok(true)
            }
            None => Ok(false),
        })
        .await
    }

    /// Notes that a call has failed. It is made again after `pause`, or given up if it has failed
    /// `max_failures` times now.
    ///
    /// # Errors
    /// If the store is unavailable; the call is as it was then.
    pub async fn failed(
        &self,
        call: &DeferredCall,
        error: &str,
        max_failures: u32,
        pause: Duration,
    ) -> Result<Failed, Error> {
        let mut dropped = 0;
        let outcome = self.change(&call.plugin, |transaction| {
            let Some(mut call) = transaction.deferred(&call.id)? else {
                return Ok(Failed::Gone);
            };
            transaction.remove_deferred(&call);
            call.failures += 1;
            error.clone_into(&mut call.last_error);
            if call.failures >= max_failures {
                let letter = DeadLetter::of(call);
                dropped = self.make_room(transaction, &letter)?;
                transaction.put_dead_letter(&letter);
                return Ok(Failed::Dead);
            }
            call.due = SystemTime::now() + pause;
            let row = call.encode();
            transaction.put_deferred(&call, row);
            Ok(Failed::Postponed)
        });
        let outcome = outcome.await?;
        if outcome == Failed::Dead {
            self.count_dead(dropped);
        }
        Ok(outcome)
    }

    /// Commits what `work` stages; runs it again when another commit got in its way.
    pub(super) async fn change<T>(
        &self,
        plugin: &Namespace,
        mut work: impl FnMut(&mut Transaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for attempt in 1..=MAX_ATTEMPTS {
            let mut transaction = self.store.begin(plugin, Access::ReadWrite);
            let outcome = work(&mut transaction)?;
            transaction.host.durable = true;
            match self.store.commit(transaction).await {
                Ok(_) => return Ok(outcome),
                Err(CommitError::Conflict(_)) => {
                    let most = 1_000 << attempt.min(6);
                    tokio::time::sleep(Duration::from_micros(rand::random_range(0..most))).await;
                }
                Err(CommitError::Unavailable(reason)) => return Err(Error::unavailable(reason)),
                Err(CommitError::Unknown) => return Err(unavailable()),
            }
        }
        Err(Error::unavailable("too many others change the same"))
    }
}
