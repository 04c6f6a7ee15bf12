//! What one plugin may keep.
//!
//! A handler learns at its write that the quota is passed. Calls that together pass it, although each alone
//! would not, are found by the committer: the later one is in conflict with the earlier, runs again, and then
//! learns it at its write. Far from the quota neither costs more than a sum; near it, the sizes of what the
//! writes replace are read.

use std::collections::{BTreeMap, HashMap};
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;

use bytes::Bytes;

use super::backend::ReadError;
use super::change::{Accepted, Change};
use super::options::Quota;
use super::snapshot::Snapshot;
use super::transaction::{Transaction, Write};
use super::usage::Usage;
use crate::capability::{Error, Namespace};

/// By how much writes let keys and bytes grow.
#[derive(Debug, Clone, Copy, Default)]
struct Growth {
    keys: i64,
    bytes: i64,
}

impl Growth {
    /// Of writing `write` where a value of `replaced` bytes was, or none.
    fn of(key: &[u8], write: &Write, replaced: Option<usize>) -> Self {
        let size = |value: Option<usize>| value.map_or(0, |value| (key.len() + value) as i64);
        let (after, before) = (write.value_bytes(), replaced);
        Self {
            keys: i64::from(after.is_some()) - i64::from(before.is_some()),
            bytes: size(after) - size(before),
        }
    }

    /// Of writing it where nothing was.
    fn at_most(key: &[u8], write: &Write) -> Self {
        Self::of(key, write, None)
    }
}

impl AddAssign for Growth {
    fn add_assign(&mut self, other: Self) {
        self.keys += other.keys;
        self.bytes += other.bytes;
    }
}

impl SubAssign for Growth {
    fn sub_assign(&mut self, other: Self) {
        self.keys -= other.keys;
        self.bytes -= other.bytes;
    }
}

impl Quota {
    /// What would be passed if `growth`, part of `all`, came upon `usage`. Who only gives back, passes
    /// nothing.
    fn passed(&self, usage: Usage, all: Growth, growth: Growth) -> Option<Error> {
        let over =
            |kept: u64, all: i64, growth: i64, max: u64| growth > 0 && kept.saturating_add_signed(all) > max;
        let limit = |max: u64| usize::try_from(max).unwrap_or(usize::MAX);
        if over(usage.bytes, all.bytes, growth.bytes, self.max_bytes) {
            let message = "the plugin would keep more bytes than its quota";
            return Some(Error::limit_exceeded(message, limit(self.max_bytes)));
        }
        if over(usage.keys, all.keys, growth.keys, self.max_keys) {
            let message = "the plugin would keep more keys than its quota";
            return Some(Error::limit_exceeded(message, limit(self.max_keys)));
        }
        None
    }
}

/// How far a transaction's writes let the plugin's usage grow.
#[derive(Default)]
pub(super) struct Budget {
    at_most: Growth,
    /// Once it may matter: the exact figure, over the state it was measured against.
    exact: Option<(Arc<Snapshot>, Growth)>,
}

impl Transaction {
    /// Counts `write`, which is about to replace `staged` among the transaction's writes.
    ///
    /// # Errors
    /// If the plugin's quota would be passed; the write is not counted then.
    pub(super) fn count_growth(&mut self, key: &[u8], write: &Write) -> Result<(), Error> {
        let staged = self.writes.get(key);
        let mut at_most = self.budget.at_most;
        if let Some(staged) = staged {
            at_most -= Growth::at_most(key, staged);
        }
        let step = Growth::at_most(key, write);
        at_most += step;
        if self.budget.exact.is_none() {
            let snapshot = self.store.snapshot()?;
            let usage = snapshot.usage_of(&self.namespace);
            if self.plugin.quota.passed(usage, at_most, step).is_none() {
                self.budget.at_most = at_most;
                return Ok(());
            }
            let mut exact = Growth::default();
            for (key, write) in &self.writes {
                let replaced = self.stored_bytes(&snapshot, key)?;
                exact += Growth::of(key, write, replaced);
            }
            self.budget.exact = Some((snapshot, exact));
        }
        let Some((snapshot, exact)) = &self.budget.exact else {
            return Ok(());
        };
        let replaced = self.stored_bytes(snapshot, key)?;
        let mut exact = *exact;
        // Upon what is staged: giving back and then taking more is taking.
        let mut step = Growth::of(key, write, replaced);
        if let Some(staged) = staged {
            step -= Growth::of(key, staged, replaced);
        }
        exact += step;
        let usage = snapshot.usage_of(&self.namespace);
        if let Some(error) = self.plugin.quota.passed(usage, exact, step) {
            return Err(error);
        }
        self.budget.at_most = at_most;
        if let Some((_, growth)) = &mut self.budget.exact {
            *growth = exact;
        }
        Ok(())
    }

    /// The size of the value under `key`. It does not count as read: the quota is checked again at the
    /// commit.
    fn stored_bytes(&self, snapshot: &Snapshot, key: &[u8]) -> Result<Option<usize>, Error> {
        let stored = snapshot.value_bytes(&self.namespace, key);
        stored.map_err(|error| self.store.read_failed(&error))
    }
}

/// Of values that a batch leaves, by key; none where it leaves no value.
type Sizes = BTreeMap<Bytes, Option<usize>>;

/// How far a batch of commits lets usage grow.
#[derive(Default)]
pub(super) struct Tally(HashMap<Namespace, Pending>);

#[derive(Default)]
struct Pending {
    at_most: Growth,
    /// Once it may matter: the exact figure, and the sizes of values that the batch leaves.
    exact: Option<(Growth, Sizes)>,
}

impl Tally {
    /// Whether `change`, after those of the batch `before` it, stays within its plugin's `quota`. If so it is
    /// counted.
    pub(super) fn admit(
        &mut self,
        change: &Change,
        quota: &Quota,
        before: &[Accepted],
        state: &Snapshot,
    ) -> Result<bool, ReadError> {
        let mut growth = Growth::default();
        for (key, write) in &change.writes {
            growth += Growth::at_most(key, write);
        }
        let pending = self.0.entry(change.namespace.clone()).or_default();
        let usage = state.usage_of(&change.namespace);
        let mut at_most = pending.at_most;
        at_most += growth;
        if pending.exact.is_none() {
            if quota.passed(usage, at_most, growth).is_none() {
                pending.at_most = at_most;
                return Ok(true);
            }
            let mut exact = (Growth::default(), Sizes::new());
            let same = before.iter().map(|accepted| &accepted.change);
            for earlier in same.filter(|earlier| earlier.namespace == change.namespace) {
                let (step, sizes) = measure(earlier, &exact.1, state)?;
                exact.0 += step;
                exact.1.extend(sizes);
            }
            pending.exact = Some(exact);
        }
        let Some((all, sizes)) = &mut pending.exact else {
            return Ok(true);
        };
        let (step, changed) = measure(change, sizes, state)?;
        let mut sum = *all;
        sum += step;
        if quota.passed(usage, sum, step).is_some() {
            return Ok(false);
        }
        *all = sum;
        sizes.extend(changed);
        pending.at_most = at_most;
        Ok(true)
    }
}

/// The growth by `change`, and the sizes it leaves, upon `state` and the `sizes` that the batch has left so
/// far.
fn measure(change: &Change, sizes: &Sizes, state: &Snapshot) -> Result<(Growth, Sizes), ReadError> {
    let mut growth = Growth::default();
    let mut changed = Sizes::new();
    for (key, write) in &change.writes {
        let replaced = match sizes.get(key) {
            Some(size) => *size,
            None => state.value_bytes(&change.namespace, key)?,
        };
        growth += Growth::of(key, write, replaced);
        changed.insert(key.clone(), write.value_bytes());
    }
    Ok((growth, changed))
}
