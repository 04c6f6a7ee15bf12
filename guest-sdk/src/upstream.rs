//! Unary gRPC calls to services that the operator names, made by way of [`ReadCall::upstream`].
//!
//! A plugin says which targets it calls and why, `#[plugin(grants(upstream("stock", "to reserve items")))]`; the
//! operator grants them and says where they are. The deadline and the trace context of the call in progress go
//! along, and so does the metadata that the operator chose. When the call is cancelled or expires, so are its
//! upstream calls.
//!
//! ```ignore (needs what a build script made)
//! let stock = pb::StockClient::new(call.upstream("stock"));
//! let reserved = stock.reserve(&pb::ReserveRequest { item, count })?.message;
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use prost::Message;

use crate::bindings::mortise::plugin::types::MetadataEntry as WitEntry;
use crate::bindings::mortise::plugin::upstream as wit;
use crate::details::RetryInfo;
use crate::{Code, MetadataEntry, ReadCall, Status, host};

/// A target, with what goes along with each call to it.
#[derive(Clone, Debug)]
pub struct Upstream<'c> {
    target: String,
    metadata: Vec<MetadataEntry>,
    timeout: Option<Duration>,
    _call: PhantomData<&'c ReadCall>,
}

impl<'c> Upstream<'c> {
    pub(crate) fn new(target: &str) -> Upstream<'c> {
        Upstream {
            target: target.to_owned(),
            metadata: Vec::new(),
            timeout: None,
            _call: PhantomData,
        }
    }

    /// Sends an entry of metadata along; a key may occur more than once. It wins over what the host would send
    /// under the same key: what the operator forwards, the trace context, `idempotency-key`.
    #[must_use]
    pub fn metadata(mut self, key: &str, value: impl AsRef<str>) -> Upstream<'c> {
        self.metadata.push(MetadataEntry {
            key: key.to_ascii_lowercase(),
            value: value.as_ref().into(),
        });
        self
    }

    /// Sends an entry of plain bytes along; the key must end in `-bin`.
    #[must_use]
    pub fn metadata_bin(mut self, key: &str, value: impl AsRef<[u8]>) -> Upstream<'c> {
        self.metadata.push(MetadataEntry {
            key: key.to_ascii_lowercase(),
            value: value.as_ref().into(),
        });
        self
    }

    /// Waits at most so long for an answer. What remains of the call in progress bounds it anyway.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Upstream<'c> {
        self.timeout = Some(timeout);
        self
    }

    /// Calls `method`, `/package.Service/Method`, and waits for its answer. Generated clients spare the name.
    ///
    /// # Errors
    /// When the target answers with a status, when there is no answer, and when the answer is no `Res`.
    pub fn unary<Res: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<Reply<Res>, Failure> {
        let reply = self.unary_bytes(method, &request.encode_to_vec())?;
        match Res::decode(reply.message.as_slice()) {
            Ok(message) => Ok(Reply {
                message,
                headers: reply.headers,
                trailers: reply.trailers,
            }),
            Err(error) => Err(Failure(Box::new(Parts {
                target: self.target.clone(),
                method: method.to_owned(),
                status: Status::internal("the answer does not parse").with_cause(error),
                origin: Origin::Host,
                headers: reply.headers,
                trailers: reply.trailers,
            }))),
        }
    }

    /// Calls `method` with an encoded message, and returns one; otherwise as [`unary`](Upstream::unary).
    ///
    /// # Errors
    /// When the target answers with a status, and when there is no answer.
    pub fn unary_bytes(&self, method: &str, request: &[u8]) -> Result<Reply<Vec<u8>>, Failure> {
        let entries = self.metadata.iter().cloned();
        let request = wit::Request {
            target: self.target.clone(),
            method: method.to_owned(),
            message: request.to_vec(),
            metadata: entries
                .map(|MetadataEntry { key, value }| WitEntry { key, value })
                .collect(),
            timeout: self
                .timeout
                .map(|timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)),
        };
        match host::upstream::call(&request) {
            Ok(reply) => Ok(Reply {
                message: reply.message,
                headers: reply.initial_metadata.into(),
                trailers: reply.trailing_metadata.into(),
            }),
            Err(failure) => Err(Failure(Box::new(Parts {
                target: self.target.clone(),
                method: method.to_owned(),
                status: failure.status.into(),
                origin: match failure.origin {
                    wit::Origin::Target => Origin::Target,
                    wit::Origin::Host => Origin::Host,
                },
                headers: failure.initial_metadata.into(),
                trailers: failure.trailing_metadata.into(),
            }))),
        }
    }
}

/// An OK answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply<T> {
    /// The response.
    pub message: T,
    /// The initial metadata of the answer.
    pub headers: ReplyMetadata,
    /// The trailing metadata of the answer.
    pub trailers: ReplyMetadata,
}

/// Metadata that came with an answer, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyMetadata {
    entries: Vec<MetadataEntry>,
}

impl ReplyMetadata {
    /// The first value of a key, none if it has no value or a `-bin` key's bytes are no text.
    pub fn get(&self, key: &str) -> Option<&str> {
        str::from_utf8(self.get_bin(key)?).ok()
    }

    /// The first value of a key as bytes.
    pub fn get_bin(&self, key: &str) -> Option<&[u8]> {
        self.entries
            .iter()
            .find(|entry| entry.key.eq_ignore_ascii_case(key))
            .map(|entry| entry.value.as_slice())
    }

    /// Everything, duplicates and order kept.
    pub fn entries(&self) -> &[MetadataEntry] {
        &self.entries
    }
}

/// For answers under test.
impl<K: Into<String>, V: Into<Vec<u8>>> FromIterator<(K, V)> for ReplyMetadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> ReplyMetadata {
        let entries = entries.into_iter();
        ReplyMetadata {
            entries: entries
                .map(|(key, value)| MetadataEntry {
                    key: key.into(),
                    value: value.into(),
                })
                .collect(),
        }
    }
}

impl From<Vec<WitEntry>> for ReplyMetadata {
    fn from(entries: Vec<WitEntry>) -> ReplyMetadata {
        let entries = entries.into_iter();
        ReplyMetadata {
            entries: entries
                .map(|WitEntry { key, value }| MetadataEntry { key, value })
                .collect(),
        }
    }
}

/// Who says that an upstream call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The target answered with the status.
    Target,
    /// There is no answer that could be used: the host or this SDK says why.
    Host,
}

/// An upstream call that failed.
///
/// With `?` it becomes the status of the handler's own call, in terms of that call: the client knows nothing of
/// the target, so the target's words and details stay in the operator's log.
///
/// | the upstream call | the handler's status |
/// |---|---|
/// | `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `CANCELLED`, `RESOURCE_EXHAUSTED`, `ABORTED` | the same, with the [`RetryInfo`] of the failure if it has one |
/// | any other code: what the target found wrong, the plugin did wrong | `INTERNAL` |
///
/// To answer the client with the target's own status, say so: `.map_err(Failure::into_status)?`. To treat some
/// codes apart, match on [`code`](Failure::code).
#[derive(Clone, PartialEq)]
pub struct Failure(Box<Parts>);

#[derive(Clone, PartialEq)]
struct Parts {
    target: String,
    method: String,
    status: Status,
    origin: Origin,
    headers: ReplyMetadata,
    trailers: ReplyMetadata,
}

impl Failure {
    /// The status, with its details.
    pub fn status(&self) -> &Status {
        &self.0.status
    }

    /// The status, to pass on unchanged, details included.
    pub fn into_status(self) -> Status {
        self.0.status
    }

    /// The code of the status.
    pub fn code(&self) -> Code {
        self.0.status.code()
    }

    /// Who says so.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// The initial metadata of the answer; empty if there was none.
    pub fn headers(&self) -> &ReplyMetadata {
        &self.0.headers
    }

    /// The trailing metadata of the answer; empty if there was none.
    pub fn trailers(&self) -> &ReplyMetadata {
        &self.0.trailers
    }
}

/// As the documentation of [`Failure`] says.
impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        let (code, message) = match failure.code() {
            code @ (Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::ResourceExhausted
            | Code::Aborted) => (code, "A service that this one needs did not serve the call"),
            _ => (Code::Internal, "Handler failed"),
        };
        let status = Status::new(code, message).with_cause(failure.to_string());
        match failure.0.status.detail::<RetryInfo>() {
            Some(retry) if code != Code::Internal => status.with_detail(retry),
            _ => status,
        }
    }
}

/// Target, method and status, as they stand in the operator's log.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            target,
            method,
            status,
            ..
        } = &*self.0;
        write!(f, "upstream {target} {method}: {status}")?;
        match status.cause() {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("target", &self.0.target)
            .field("method", &self.0.method)
            .field("status", &self.0.status)
            .field("origin", &self.0.origin)
            .finish_non_exhaustive()
    }
}
