//! What a transaction does to deferred calls.

use std::time::SystemTime;

use bytes::Bytes;

use super::rows;
use super::{CallId, DeadLetter, DeferredCall, Errand};
use crate::capability::Error;
use crate::capability::store::outbox::Position;
use crate::capability::store::transaction::{Transaction, Write};

impl Transaction {
    /// Schedules a call of `method` of the plugin, to be made at `when`, or at once if that is past. It
    /// exists when this transaction has committed.
    ///
    /// # Errors
    /// If the call may only read, schedules too many, has too large a request, the plugin has too many
    /// pending, or the store is unavailable.
    pub fn schedule(&mut self, when: SystemTime, method: &str, request: Bytes) -> Result<CallId, Error> {
        self.begin_write(&[])?;
        let bounds = self.store.options.deferred.clone();
        if request.len() > bounds.max_request_bytes {
            let limit = bounds.max_request_bytes;
            let message = format!(
                "a timer's request of {} bytes is too long: at most {limit} are allowed",
                request.len()
            );
            return Err(Error::limit_exceeded(message, limit));
        }
        let scheduled = self.host.scheduled();
        if scheduled.count >= bounds.max_per_call as u64 {
            let message = "the call schedules too many timers";
            return Err(Error::limit_exceeded(message, bounds.max_per_call));
        }
        let call = DeferredCall {
            id: CallId::random(),
            plugin: self.namespace.clone(),
            method: method.to_owned(),
            request,
            due: when,
            failures: 0,
            last_error: String::new(),
            hops: self.hops,
            event: None,
        };
        let row = call.encode();
        // The committer decides; this is for the plugin to hear of it while it can still do something else.
        let pending = self.store.snapshot()?.deferred.pending_of(&self.namespace);
        if pending.count + scheduled.count >= bounds.max_pending {
            return Err(too_many("timers", bounds.max_pending));
        }
        if pending.bytes + scheduled.bytes + row.len() as u64 > bounds.max_pending_bytes {
            return Err(too_many("bytes in timers", bounds.max_pending_bytes));
        }
        self.stage_bytes(row.len())?;
        let id = call.id.clone();
        self.put_deferred(&call, row);
        Ok(id)
    }

    /// Takes back a timer; false if the plugin has none of this id: it was cancelled, its call was made, or
    /// given up.
    ///
    /// # Errors
    /// If the call may only read, does too much, or the store is unavailable.
    pub fn cancel(&mut self, id: &str) -> Result<bool, Error> {
        self.begin_write(&[])?;
        let Some(id) = CallId::parse(id) else {
            return Ok(false);
        };
        match self.deferred(&id)? {
            Some(call) if call.event.is_none() => {
                self.remove_deferred(&call);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Notes that the call of this transaction is made for `errand`, which its commit settles. False if it is
    /// settled already: then there is nothing to do.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub fn settle(&mut self, errand: &Errand) -> Result<bool, Error> {
        match errand {
            Errand::Deferred(id) => {
                let Some(call) = self.deferred(id)? else {
                    return Ok(false);
                };
                self.remove_deferred(&call);
                self.host.durable = true;
            }
            Errand::Event { sink, position } => {
                let key = rows::acknowledgement(sink, *position);
                if self.passed(sink)? >= *position || self.read_host(&key)?.is_some() {
                    return Ok(false);
                }
                self.host.put(key, Bytes::new());
            }
        }
        Ok(true)
    }

    /// Says how many deliveries of events led to this call: what it publishes and schedules carries the
    /// number on.
    pub fn caused_by_hops(&mut self, hops: u32) {
        self.hops = hops;
    }

    /// The deferred call of the plugin, if there is one.
    pub(super) fn deferred(&mut self, id: &CallId) -> Result<Option<DeferredCall>, Error> {
        let found = self.read_host(&rows::call(&self.namespace, id))?;
        let Some(row) = found else { return Ok(None) };
        let call = DeferredCall::decode(self.namespace.clone(), id.clone(), &row);
        call.map(Some).ok_or_else(damaged)
    }

    pub(super) fn put_deferred(&mut self, call: &DeferredCall, row: Bytes) {
        let size = row.len();
        self.host.pending.added.add(size);
        self.host.schedules = true;
        let due = rows::due(&self.namespace, call.due, &call.id);
        self.host
            .put(due, Bytes::copy_from_slice(&(size as u64).to_be_bytes()));
        self.host.put(rows::call(&self.namespace, &call.id), row);
    }

    pub(super) fn remove_deferred(&mut self, call: &DeferredCall) {
        self.host.pending.removed.add(call.encode().len());
        self.host.delete(rows::due(&self.namespace, call.due, &call.id));
        self.host.delete(rows::call(&self.namespace, &call.id));
    }

    pub(super) fn dead_letter(&mut self, id: &CallId) -> Result<Option<DeadLetter>, Error> {
        let key = rows::dead(id);
        let Some(row) = self.read_host(&key)? else {
            return Ok(None);
        };
        DeadLetter::decode(&key, &row).map(Some).ok_or_else(damaged)
    }

    pub(super) fn put_dead_letter(&mut self, letter: &DeadLetter) {
        let row = letter.encode();
        self.host.dead.added.add(row.len());
        self.host.put(rows::dead(&letter.id), row);
    }

    pub(super) fn remove_dead_letter(&mut self, letter: &DeadLetter) {
        self.host.dead.removed.add(letter.encode().len());
        self.host.delete(rows::dead(&letter.id));
    }

    /// One of the host's own rows, remembered for validation.
    fn read_host(&mut self, key: &Bytes) -> Result<Option<Bytes>, Error> {
        match self.host.writes.get(key) {
            Some(Write::Put(value)) => return Ok(Some(value.clone())),
            Some(Write::Delete) => return Ok(None),
            None => {}
        }
        let found = self.pinned_snapshot()?.host_row(key);
        let found = found.map_err(|e| self.store.read_failed(&e))?;
        self.host.reads.add_key(key.clone());
        Ok(found)
    }

    /// The cursor of a sink, in the same snapshot. Not validated: it passes no event that is not
    /// acknowledged.
    fn passed(&mut self, sink: &str) -> Result<Position, Error> {
        let cursor = self.pinned_snapshot()?.reader.cursor(sink);
        cursor.map_err(|e| self.store.read_failed(&e))
    }
}

fn too_many(what: &str, limit: u64) -> Error {
    let message = format!("the plugin has too many {what} pending: at most {limit} are allowed");
    Error::limit_exceeded(message, usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Only the host writes these rows.
fn damaged() -> Error {
    Error::internal("the store's file is not as it should be")
}
