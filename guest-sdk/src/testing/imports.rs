//! The contract's imports over the call in progress, function by function as the bindings have them.

pub(crate) mod call {
    use super::super::answer::Metadata;
    use super::super::call::{Current, with_current};
    use super::super::metadata;
    use crate::MetadataEntry;
    use crate::bindings::mortise::plugin::call as wit;

    pub(crate) fn metadata(key: &str) -> Vec<Vec<u8>> {
        with_current(|call| {
            let entries = readable(call).filter(|entry| entry.key == key);
            entries.map(|entry| entry.value.clone()).collect()
        })
    }

    pub(crate) fn all_metadata() -> Vec<wit::MetadataEntry> {
        with_current(|call| {
            let entries = readable(call).cloned();
            entries
                .map(|MetadataEntry { key, value }| wit::MetadataEntry { key, value })
                .collect()
        })
    }

    fn readable(call: &Current) -> impl Iterator<Item = &MetadataEntry> {
        call.request
            .metadata
            .iter()
            .filter(|entry| metadata::is_readable(entry))
    }

    pub(crate) fn deadline() -> Option<u64> {
        with_current(|call| call.deadline)
    }

    pub(crate) fn remaining() -> Option<u64> {
        with_current(|call| call.remaining())
    }

    pub(crate) fn cancelled() -> bool {
        with_current(|call| call.request.cancelled)
    }

    pub(crate) fn peer() -> String {
        with_current(|call| call.request.peer.clone())
    }

    pub(crate) fn principal() -> Option<wit::Identity> {
        let principal = with_current(|call| call.request.principal.clone())?;
        Some(wit::Identity {
            id: principal.id,
            claims: principal.claims,
        })
    }

    pub(crate) fn id() -> String {
        with_current(|call| call.id.clone())
    }

    pub(crate) fn attempt() -> u32 {
        with_current(|call| call.request.attempt)
    }

    pub(crate) fn trace_context() -> Option<wit::Trace> {
        let trace = with_current(|call| call.request.trace.clone())?;
        Some(wit::Trace {
            traceparent: trace.traceparent,
            tracestate: trace.tracestate,
        })
    }

    pub(crate) fn add_initial_metadata(key: &str, value: &[u8]) -> Result<(), wit::Error> {
        add(key, value, |call| &mut call.headers)
    }

    pub(crate) fn add_trailing_metadata(key: &str, value: &[u8]) -> Result<(), wit::Error> {
        add(key, value, |call| &mut call.trailers)
    }

    fn add(key: &str, value: &[u8], block: fn(&mut Current) -> &mut Metadata) -> Result<(), wit::Error> {
        with_current(|call| {
            let sent = call.headers.entries.iter().chain(&call.trailers.entries);
            let added = metadata::added(sent, key, value)?;
            block(call).entries.push(added);
            Ok(())
        })
    }
}

pub(crate) mod store {
    use super::super::call::with_current;
    use super::super::store::{Store, Transaction};
    use crate::bindings::mortise::plugin::store as wit;
    use crate::bindings::mortise::plugin::types::Error;

    pub(crate) fn get(key: &[u8]) -> Result<Option<wit::Versioned>, Error> {
        transact(|transaction, store| transaction.get(store, key))
    }

    pub(crate) fn get_many(keys: &[Vec<u8>]) -> Result<Vec<Option<wit::Versioned>>, Error> {
        transact(|transaction, store| transaction.get_many(store, keys))
    }

    pub(crate) fn scan(range: &wit::Range) -> Result<wit::Page, Error> {
        transact(|transaction, store| transaction.scan(store, range))
    }

    pub(crate) fn insert(key: &[u8], value: &[u8]) -> Result<bool, Error> {
        transact(|transaction, store| transaction.insert(store, key, value))
    }

    pub(crate) fn put(key: &[u8], value: &[u8]) -> Result<(), Error> {
        transact(|transaction, store| transaction.put(store, key, value))
    }

    pub(crate) fn delete(key: &[u8]) -> Result<bool, Error> {
        transact(|transaction, store| transaction.delete(store, key))
    }

    pub(crate) fn put_if(key: &[u8], value: &[u8], version: u64) -> Result<bool, Error> {
        transact(|transaction, store| transaction.put_if(store, key, value, version))
    }

    pub(crate) fn delete_if(key: &[u8], version: u64) -> Result<bool, Error> {
        transact(|transaction, store| transaction.delete_if(store, key, version))
    }

    pub(super) fn transact<T>(
        operation: impl FnOnce(&mut Transaction, &Store) -> Result<T, Error>,
    ) -> Result<T, Error> {
        with_current(|call| match &call.state.store_failure {
            Some(status) => Err(Error {
                code: status.code().into(),
                message: status.message().to_owned(),
                limit: None,
            }),
            None => operation(&mut call.transaction, &call.state.store),
        })
    }
}

pub(crate) mod events {
    use super::store::transact;
    use crate::bindings::mortise::plugin::types::Error;

    pub(crate) fn publish(topic: &str, key: &str, payload: &[u8]) -> Result<(), Error> {
        transact(|transaction, _| transaction.publish(topic, key, payload))
    }
}

pub(crate) mod timers {
    use super::store::transact;
    use crate::bindings::mortise::plugin::types::Error;

    pub(crate) fn schedule(when: u64, method: &str, request: &[u8]) -> Result<String, Error> {
        transact(|transaction, store| transaction.schedule(store, when, method, request))
    }

    pub(crate) fn cancel(id: &str) -> Result<bool, Error> {
        transact(|transaction, store| transaction.cancel(store, id))
    }
}

pub(crate) mod limits {
    use super::super::call::with_current;
    use crate::bindings::mortise::plugin::limits::{Decision, Rate};
    use crate::bindings::mortise::plugin::types::Error;

    pub(crate) fn take(bucket: &str, tokens: u32, rate: Rate) -> Result<Decision, Error> {
        with_current(|call| {
            let number = call.decisions_asked;
            call.decisions_asked += 1;
            let state = &mut call.state;
            if let Some(earlier) = state.carried.decision(number, bucket, tokens, rate) {
                return Ok(earlier);
            }
            let now = state.clock.unix_nanos();
            let decision = state.buckets.take(bucket, tokens, rate, now)?;
            state.carried.decided(bucket, tokens, rate, decision);
            Ok(decision)
        })
    }
}

pub(crate) mod upstream {
    use super::super::upstream;
    use crate::bindings::mortise::plugin::upstream as wit;

    pub(crate) fn call(request: &wit::Request) -> Result<wit::Reply, wit::Failure> {
        upstream::call(request)
    }
}

pub(crate) mod log {
    use super::super::call::{LogLevel, LogLine, try_with_current};
    use crate::bindings::mortise::plugin::log::Level;

    pub(crate) fn max_level() -> Option<Level> {
        let level = try_with_current(|call| call.state.max_level).flatten()?;
        Some(match level {
            LogLevel::Trace => Level::Trace,
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
            LogLevel::Error => Level::Error,
        })
    }

    pub(crate) fn write(level: Level, target: &str, message: &str, fields: &[(String, String)]) {
        try_with_current(|call| {
            call.state.logs.push(LogLine {
                level: match level {
                    Level::Trace => LogLevel::Trace,
                    Level::Debug => LogLevel::Debug,
                    Level::Info => LogLevel::Info,
                    Level::Warn => LogLevel::Warn,
                    Level::Error => LogLevel::Error,
                },
                target: target.to_owned(),
                message: message.to_owned(),
                fields: fields.to_owned(),
            });
        });
    }
}

pub(crate) mod config {
    use super::super::call::with_current;

    pub(crate) fn get(key: &str) -> Option<String> {
        with_current(|call| call.state.config.get(key).cloned())
    }
}

pub(crate) mod clock {
    use std::time::SystemTime;

    use super::super::call::with_current;

    pub(crate) fn now() -> SystemTime {
        with_current(|call| call.state.clock.now())
    }
}

pub(crate) mod random {
    use super::super::call::with_current;

    pub(crate) fn fill(bytes: &mut [u8]) {
        with_current(|call| {
            for chunk in bytes.chunks_mut(8) {
                let random = split_mix(&mut call.state.random).to_le_bytes();
                chunk.copy_from_slice(&random[..chunk.len()]);
            }
        });
    }

    /// SplitMix64: every seed gives a good sequence.
    fn split_mix(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
