//! Version 0.1.0 of `mortise:plugin`.

use bytes::Bytes;

use crate::capability::limits::Rate;
use crate::capability::store as kv;
use crate::capability::{Error as CapabilityError, ErrorKind};
use crate::metadata::{MetadataError, Part};
use crate::plugin::state::{Attempt, CallState, RememberedDecision};
use crate::status::GuestStatus;

mod log;
mod timers;
mod upstream;

/// Where a plugin's own tests run it, their fake host answers the import, by the contract's name for it.
macro_rules! fake_host_answers {
    ($state:ident, $function:literal $(, $argument:expr)*) => {
        if let Some(test) = &$state.plugin.under_test {
            return test.ask($function, &($($argument,)*));
        }
    };
}
use fake_host_answers;

/// Generated from the WIT.
#[allow(missing_docs)]
mod generated {
    wasmtime::component::bindgen!({
        path: "guest-sdk/wit/v0.1.0",
        world: "plugin",
        imports: {
            "mortise:plugin/store.get-many": async,
            "mortise:plugin/store.scan": async,
            "mortise:plugin/upstream.call": async,
        },
        exports: { default: async },
        // For tests of plugins, whose fake host is another process.
        additional_derives: [serde::Serialize, serde::Deserialize],
    });
}

pub use generated::exports::mortise::plugin::handler;
/// The interfaces that plugins import, with a trait each that [`CallState`] implements.
pub(in crate::plugin) use generated::mortise::plugin as imports;
pub use generated::mortise::plugin::types::{Code, Detail, Error, Status};
pub use generated::{Plugin, PluginPre};

/// The contract's interface that only plugins with a grant may import.
pub const UPSTREAM: &str = "mortise:plugin/upstream";

use generated::mortise::plugin::types::MetadataEntry;
use generated::mortise::plugin::{call, config, events, limits, store, types};

/// How many rate-limit decisions one call may ask for. Each is remembered until the call ends.
const MAX_DECISIONS: usize = 1000;

impl types::Host for CallState {}

impl From<Code> for tonic::Code {
    fn from(code: Code) -> Self {
        match code {
            Code::Cancelled => Self::Cancelled,
            Code::Unknown => Self::Unknown,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::ResourceExhausted => Self::ResourceExhausted,
            Code::FailedPrecondition => Self::FailedPrecondition,
            Code::Aborted => Self::Aborted,
            Code::OutOfRange => Self::OutOfRange,
            Code::Unimplemented => Self::Unimplemented,
            Code::Internal => Self::Internal,
            Code::Unavailable => Self::Unavailable,
            Code::DataLoss => Self::DataLoss,
            Code::Unauthenticated => Self::Unauthenticated,
        }
    }
}

impl From<Status> for GuestStatus {
    fn from(status: Status) -> Self {
        let details = status.details.into_iter();
        Self {
            code: status.code.into(),
            message: status.message,
            details: details
                .map(|detail| prost_types::Any {
                    type_url: detail.type_url,
                    value: detail.value,
                })
                .collect(),
        }
    }
}

impl CallState {
    /// # Errors
    /// While the plugin describes itself there is no call.
    fn serving(&mut self) -> Result<&mut Attempt, Error> {
        self.attempt.as_deref_mut().ok_or_else(|| Error {
            code: Code::FailedPrecondition,
            message: "there is no call in progress while the plugin describes itself".into(),
            limit: None,
        })
    }

    fn add_metadata(&mut self, part: Part, key: &str, value: &[u8]) -> Result<(), Error> {
        let limits = self.plugin.metadata;
        Ok(self.serving()?.answer.add(part, key, value, &limits)?)
    }
}

impl From<MetadataError> for Error {
    fn from(error: MetadataError) -> Self {
        let (code, limit) = match error {
            MetadataError::TooLarge(limit) | MetadataError::TooMany(limit) => {
                (Code::ResourceExhausted, Some(limit as u64))
            }
            _ => (Code::InvalidArgument, None),
        };
        Self {
            code,
            message: error.to_string(),
            limit,
        }
    }
}

impl From<CapabilityError> for Error {
    fn from(error: CapabilityError) -> Self {
        let code = match error.kind() {
            ErrorKind::InvalidArgument => Code::InvalidArgument,
            ErrorKind::LimitExceeded => Code::ResourceExhausted,
            ErrorKind::ReadOnly => Code::FailedPrecondition,
            ErrorKind::Unavailable => Code::Unavailable,
            ErrorKind::Internal => Code::Internal,
        };
        Self {
            code,
            message: error.message().to_owned(),
            limit: error.limit(),
        }
    }
}

impl call::Host for CallState {
    fn metadata(&mut self, key: String) -> Vec<Vec<u8>> {
        fake_host_answers!(self, "call.metadata", key);
        self.attempt
            .as_ref()
            .map(|attempt| attempt.call.metadata.get_all(&key))
            .unwrap_or_default()
    }

    fn all_metadata(&mut self) -> Vec<MetadataEntry> {
        fake_host_answers!(self, "call.all-metadata");
        let entries = self
            .attempt
            .as_ref()
            .map(|attempt| attempt.call.metadata.entries());
        entries
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| MetadataEntry { key, value })
            .collect()
    }

    fn deadline(&mut self) -> Option<u64> {
        fake_host_answers!(self, "call.deadline");
        self.attempt.as_ref()?.call.deadline.unix_nanos()
    }

    fn remaining(&mut self) -> Option<u64> {
        fake_host_answers!(self, "call.remaining");
        let remaining = self.attempt.as_ref()?.call.deadline.remaining()?;
        Some(u64::try_from(remaining.as_nanos()).unwrap_or(u64::MAX))
    }

    fn cancelled(&mut self) -> bool {
        fake_host_answers!(self, "call.cancelled");
        // The call's future is dropped, and its sandbox with it, when the caller goes away; what is left to
        // tell apart is a call that ran out of time and is about to be interrupted.
        self.attempt
            .as_ref()
            .is_some_and(|attempt| attempt.call.deadline.expired())
    }

    fn peer(&mut self) -> String {
        fake_host_answers!(self, "call.peer");
        self.attempt
            .as_ref()
            .map(|attempt| attempt.call.peer.to_string())
            .unwrap_or_default()
    }

    fn principal(&mut self) -> Option<call::Identity> {
        fake_host_answers!(self, "call.principal");
        let principal = self.attempt.as_ref()?.call.principal.as_ref()?;
        Some(call::Identity {
            id: principal.id.clone(),
            claims: principal.claims.clone(),
        })
    }

    fn id(&mut self) -> String {
        fake_host_answers!(self, "call.id");
        self.attempt
            .as_ref()
            .map(|attempt| attempt.call.id.to_string())
            .unwrap_or_default()
    }

    fn attempt(&mut self) -> u32 {
        fake_host_answers!(self, "call.attempt");
        self.attempt.as_ref().map_or(0, |attempt| attempt.number)
    }

    fn trace_context(&mut self) -> Option<call::Trace> {
        fake_host_answers!(self, "call.trace-context");
        let trace = self.attempt.as_ref()?.call.trace.as_ref()?;
        Some(call::Trace {
            traceparent: trace.traceparent(),
            tracestate: trace.tracestate().map(str::to_owned),
        })
    }

    fn add_initial_metadata(&mut self, key: String, value: Vec<u8>) -> Result<(), Error> {
        fake_host_answers!(self, "call.add-initial-metadata", key, value);
        self.add_metadata(Part::Initial, &key, &value)
    }

    fn add_trailing_metadata(&mut self, key: String, value: Vec<u8>) -> Result<(), Error> {
        fake_host_answers!(self, "call.add-trailing-metadata", key, value);
        self.add_metadata(Part::Trailing, &key, &value)
    }
}

impl From<kv::Versioned> for store::Versioned {
    fn from(versioned: kv::Versioned) -> Self {
        Self {
            value: versioned.value.into(),
            version: versioned.version,
        }
    }
}

impl store::Host for CallState {
    fn get(&mut self, key: Vec<u8>) -> Result<Option<store::Versioned>, Error> {
        fake_host_answers!(self, "store.get", key);
        Ok(self.serving()?.transaction.get(&key)?.map(Into::into))
    }

    async fn get_many(&mut self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<store::Versioned>>, Error> {
        fake_host_answers!(self, "store.get-many", keys);
        let values = self.serving()?.transaction.get_many(&keys).await?;
        Ok(values.into_iter().map(|value| value.map(Into::into)).collect())
    }

    fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<bool, Error> {
        fake_host_answers!(self, "store.insert", key, value);
        Ok(self.serving()?.transaction.insert(&key, Bytes::from(value))?)
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Error> {
        fake_host_answers!(self, "store.put", key, value);
        Ok(self.serving()?.transaction.put(&key, Bytes::from(value))?)
    }

    fn delete(&mut self, key: Vec<u8>) -> Result<bool, Error> {
        fake_host_answers!(self, "store.delete", key);
        Ok(self.serving()?.transaction.delete(&key)?)
    }

    fn put_if(&mut self, key: Vec<u8>, value: Vec<u8>, version: u64) -> Result<bool, Error> {
        fake_host_answers!(self, "store.put-if", key, value, version);
        let transaction = &mut self.serving()?.transaction;
        Ok(transaction.put_if(&key, Bytes::from(value), version)?)
    }

    fn delete_if(&mut self, key: Vec<u8>, version: u64) -> Result<bool, Error> {
        fake_host_answers!(self, "store.delete-if", key, version);
        Ok(self.serving()?.transaction.delete_if(&key, version)?)
    }

    async fn scan(&mut self, range: store::Range) -> Result<store::Page, Error> {
        fake_host_answers!(self, "store.scan", range);
        let range = kv::Range {
            start: range.start.into(),
            end: range.end.map(Bytes::from),
            cursor: range.cursor.map(Bytes::from),
            direction: match range.direction {
                store::Direction::Ascending => kv::Direction::Ascending,
                store::Direction::Descending => kv::Direction::Descending,
            },
            limit: range.limit,
        };
        let page = self.serving()?.transaction.scan(&range).await?;
        let entries = page.entries.into_iter().map(|entry| store::Entry {
            key: entry.key.into(),
            value: entry.value.into(),
            version: entry.version,
        });
        Ok(store::Page {
            entries: entries.collect(),
            cursor: page.cursor.map(Into::into),
        })
    }
}

impl events::Host for CallState {
    fn publish(&mut self, topic: String, key: String, payload: Vec<u8>) -> Result<(), Error> {
        fake_host_answers!(self, "events.publish", topic, key, payload);
        Ok(self
            .serving()?
            .transaction
            .publish(&topic, &key, Bytes::from(payload))?)
    }
}

impl limits::Host for CallState {
    fn take(&mut self, bucket: String, tokens: u32, rate: limits::Rate) -> Result<limits::Decision, Error> {
        fake_host_answers!(self, "limits.take", bucket, tokens, rate);
        let rate = Rate::new(
            rate.burst,
            rate.refill,
            std::time::Duration::from_millis(rate.period_ms),
        )?;
        let rate_limits = self.plugin.rate_limits.clone();
        let namespace = self.plugin.name.clone();
        let attempt = self.serving()?;
        let mut decisions = attempt.call.decisions.lock();
        let asked = attempt.decisions_asked;
        if asked >= MAX_DECISIONS {
            let message = "too many rate-limit decisions in one call";
            return Err(CapabilityError::limit_exceeded(message, MAX_DECISIONS).into());
        }
        attempt.decisions_asked += 1;
        let remembered = decisions
            .get(asked)
            .filter(|earlier| earlier.bucket == bucket && earlier.tokens == tokens && earlier.rate == rate)
            .map(|earlier| earlier.decision);
        let decision = match remembered {
            Some(decision) => decision,
            None => {
                let decision =
                    rate_limits.take(&namespace, &bucket, tokens, rate, std::time::Instant::now())?;
                // A handler that asks differently this time is answered afresh from here on.
                decisions.truncate(asked);
                decisions.push(RememberedDecision {
                    bucket,
                    tokens,
                    rate,
                    decision,
                });
                decision
            }
        };
        // Rounded up: asking again at that moment must succeed.
        let retry_after_ms = decision.retry_after.as_nanos().div_ceil(1_000_000);
        Ok(limits::Decision {
            allowed: decision.allowed,
            retry_after_ms: u64::try_from(retry_after_ms).unwrap_or(u64::MAX),
        })
    }
}

impl config::Host for CallState {
    fn get(&mut self, key: String) -> Option<String> {
        fake_host_answers!(self, "config.get", key);
        self.plugin.config.get(&key).cloned()
    }
}
