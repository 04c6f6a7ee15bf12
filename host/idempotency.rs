//! Calls with an `idempotency-key`: the same key and request get the same answer, and the handler runs once.
//!
//! An OK answer is recorded in the transaction of its call, so it is there exactly if the call's effects are.
//! Keys are scoped by plugin, method and caller. That two calls with one key never both take effect is for
//! the store to see to; [`Idempotency`] only spares the second the work: it waits until the first has ended. It
//! waits rather than being refused: it is nearly always the first one's client that lost its connection, and what
//! it asks for will be there in a moment.

mod key;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::auth::Principal;
use crate::capability::store::{AnswerKey, Transaction};
use crate::deadline::Deadline;
use crate::metadata::{AnswerMetadata, RequestMetadata};
use crate::observe::metrics::Counter;
use crate::router::Route;
use crate::status::Failure;

use crate::turns::{Turn, Turns, WaitOptions};

/// When a call that waited in vain, or could not wait, should come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the host knows of calls with an `idempotency-key`.
#[derive(Debug)]
pub struct Idempotency {
    turns: Turns<AnswerKey>,
    /// Calls that were answered from a record.
    pub replays: Counter,
}

/// A call with an `idempotency-key`, while no other one with the same key runs.
#[derive(Debug)]
pub struct Keyed<'i> {
    key: AnswerKey,
    /// A hash of the request message.
    request: [u8; 32],
    replays: &'i Counter,
    _turn: Turn<'i, AnswerKey>,
}

/// What is stored of an answer.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(bytes = "vec", tag = "1")]
    request: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    initial: Vec<Field>,
    #[prost(message, repeated, tag = "3")]
    trailing: Vec<Field>,
    #[prost(bytes = "vec", tag = "4")]
    message: Vec<u8>,
}

/// A header as it is sent.
#[derive(Clone, PartialEq, Message)]
struct Field {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

impl Idempotency {
    /// With no call in progress.
    pub fn new(options: WaitOptions) -> Self {
        Self {
            turns: Turns::new(options),
            replays: Counter::default(),
        }
    }

    pub(crate) fn turns(&self) -> &Turns<AnswerKey> {
        &self.turns
    }

    /// Waits until no other call with the same key runs. None for a call without a key, and for one of a
    /// method without side effects, which may run as often as it likes.
    ///
    /// # Errors
    /// If the key is malformed, the call expires, or another call has the key for too long.
    pub async fn enter(
        &self,
        route: &Route,
        metadata: &RequestMetadata,
        principal: Option<&Principal>,
        request: &[u8],
        deadline: &Deadline,
    ) -> Result<Option<Keyed<'_>>, Failure> {
        let mut values = metadata.raw(key::HEADER);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let method = &route.generation.description.methods[route.method];
        if method.read_only {
            return Ok(None);
        }
        let key = key::parse(value, values.next().is_some())?;
        let plugin = route.generation.name.as_str();
        let key = scoped(&key, plugin, &method.path, principal);
        let Some(turn) = self.turns.take(key, deadline).await? else {
            return Err(Failure::IdempotencyKeyInUse {
                retry_after: RETRY_AFTER,
            });
        };
        Ok(Some(Keyed {
            key,
            request: Sha256::digest(request).into(),
            replays: &self.replays,
            _turn: turn,
        }))
    }
}

impl Keyed<'_> {
    /// The answer to an earlier call with the same key and request.
    ///
    /// # Errors
    /// If the earlier request was another one, or the store is unavailable.
    pub fn recorded(
        keyed: Option<&Self>,
        transaction: &mut Transaction,
    ) -> Result<Option<(Vec<u8>, AnswerMetadata)>, Failure> {
        let Some(keyed) = keyed else { return Ok(None) };
        let found = transaction.recorded_answer(keyed.key).map_err(|error| {
            let cause = error.to_string();
            Failure::StoreUnavailable { cause }
        })?;
        let Some(record) = found else { return Ok(None) };
        let unreadable = || Failure::Internal {
            cause: "the record of an answer cannot be read".into(),
        };
        let record = Record::decode(record).map_err(|_| unreadable())?;
        if record.request != keyed.request {
            return Err(Failure::IdempotencyKeyReused);
        }
        let headers = |fields: &[Field]| headers(fields).ok_or_else(unreadable);
        let metadata = AnswerMetadata::recorded(headers(&record.initial)?, headers(&record.trailing)?);
        keyed.replays.increment();
        tracing::debug!("answered as an earlier call with the same idempotency-key was");
        Ok(Some((record.message, metadata)))
    }

    /// Has the answer committed with what the handler staged, even if that is nothing: a repeated call is
    /// promised the same answer, whatever has changed since.
    pub fn record(
        keyed: Option<&Self>,
        transaction: &mut Transaction,
        message: &[u8],
        metadata: &AnswerMetadata,
    ) {
        let Some(keyed) = keyed else { return };
        let record = Record {
            request: keyed.request.into(),
            initial: fields(&metadata.initial),
            trailing: fields(&metadata.trailing),
            message: message.into(),
        };
        transaction.record_answer(record.encode_to_vec().into());
    }
}

/// Callers that the host does not know share one scope: it cannot tell them apart.
fn scoped(key: &str, plugin: &str, method: &str, principal: Option<&Principal>) -> AnswerKey {
    let caller = principal.map(|principal| principal.id.as_str());
    let mut hash = Sha256::new();
    hash.update([u8::from(caller.is_some())]);
    for part in [plugin, method, caller.unwrap_or_default(), key] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn fields(headers: &HeaderMap) -> Vec<Field> {
    let fields = headers.iter().map(|(name, value)| Field {
        name: name.as_str().to_owned(),
        value: value.as_bytes().to_owned(),
    });
    fields.collect()
}

fn headers(fields: &[Field]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(&field.value).ok()?);
    }
    Some(headers)
}
