//! [`Call`] and [`ReadCall`]: the call in progress, as a handler sees it.

use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::config::{self, ConfigValue};
use crate::limits::{self, Decision, Rate};
use crate::metadata::{AnswerMetadata, Block, RequestMetadata};
use crate::store::{Indexed, IndexedTable, ReadIndexedTable, ReadStore, ReadTable, Store, Table};
use crate::timers::{self, Method, TimerId};
use crate::upstream::Upstream;
use crate::{Event, Status, event, host};

/// The call in progress, in a method that may change state.
///
/// It has all that a [`ReadCall`] has, and besides may write to the store, publish events and set timers.
/// Everything one call does to them is one serialisable transaction: it takes effect if and only if the
/// handler returns `Ok`. When the transaction meets a conflict the host runs the handler again from the
/// start, in a fresh sandbox, so a handler must not lead its own count of what it did.
#[derive(Debug)]
pub struct Call {
    read: ReadCall,
}

/// The call in progress, in a method whose proto says `option idempotency_level = NO_SIDE_EFFECTS;`.
///
/// It reads the store as of one moment, and has nothing to write with. Values are fetched from the host when
/// asked for, so what a handler does not ask costs nothing.
#[derive(Debug)]
pub struct ReadCall {
    /// A call belongs to the thread that serves it.
    _not_send: PhantomData<*const ()>,
}

impl Deref for Call {
    type Target = ReadCall;

    fn deref(&self) -> &ReadCall {
        &self.read
    }
}

impl DerefMut for Call {
    fn deref_mut(&mut self) -> &mut ReadCall {
        &mut self.read
    }
}

impl Call {
    /// To be made only where a call is in progress.
    pub(crate) fn current() -> Call {
        Call {
            read: ReadCall {
                _not_send: PhantomData,
            },
        }
    }

    /// The table `name`, whose values are messages of type `M`. Tables need no declaration.
    pub fn table<'c, M: Message + Default>(&'c self, name: &'c str) -> Table<'c, M> {
        Table::new(name)
    }

    /// A table that keeps indexes with its messages.
    pub fn indexed<'c, M: Message + Default>(&'c self, table: &'c Indexed<M>) -> IndexedTable<'c, M> {
        IndexedTable::new(table)
    }

    /// The store as plain bytes, beneath the tables.
    pub fn store(&self) -> Store<'_> {
        Store::new()
    }

    /// Publishes `message` on `topic` when the call commits. Events with the same topic and `key` are
    /// delivered in order, each at least once.
    ///
    /// # Errors
    /// When the host refuses it, for instance because it is too large.
    pub fn publish(&self, topic: &str, key: &str, message: &impl Message) -> Result<(), Status> {
        self.publish_bytes(topic, key, &message.encode_to_vec())
    }

    /// Publishes plain bytes; otherwise as [`publish`](Call::publish).
    ///
    /// # Errors
    /// When the host refuses it, for instance because it is too large.
    pub fn publish_bytes(&self, topic: &str, key: &str, payload: &[u8]) -> Result<(), Status> {
        host::events::publish(topic, key, payload).map_err(Status::from)
    }

    /// Has the host call a method of this plugin at `when`, or at once if that is past. The timer exists when
    /// the call commits. Its own call is one like any other, with a transaction and a deadline of its own; it
    /// is made again later if it fails, a bounded number of times.
    ///
    /// ```ignore (needs what a build script made)
    /// let due = call.now() + Duration::from_secs(3600);
    /// call.schedule(due, pb::OrderTimersMethod::CANCEL_UNPAID, &pb::CancelUnpaidRequest { id })?;
    /// ```
    ///
    /// # Errors
    /// When the host refuses it, for instance because the plugin has too many timers, or does not serve the
    /// method.
    pub fn schedule<Req: Message>(
        &self,
        when: SystemTime,
        method: Method<Req>,
        request: &Req,
    ) -> Result<TimerId, Status> {
        timers::schedule(when, method, request)
    }

    /// Takes back a timer, also one that this very call has scheduled. False if there is no such timer any
    /// more: its call was made or given up, or it was cancelled.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn cancel_timer(&self, id: impl AsRef<str>) -> Result<bool, Status> {
        timers::cancel(id.as_ref())
    }
}

impl ReadCall {
    /// The request's metadata.
    pub fn metadata(&self) -> RequestMetadata<'_> {
        RequestMetadata::new()
    }

    /// The answer's initial metadata, which the client gets before the message.
    pub fn headers(&self) -> AnswerMetadata<'_> {
        AnswerMetadata::new(Block::Initial)
    }

    /// The answer's trailing metadata, which the client gets with the status.
    pub fn trailers(&self) -> AnswerMetadata<'_> {
        AnswerMetadata::new(Block::Trailing)
    }

    /// When the call expires; none if it never does.
    pub fn deadline(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_nanos(host::call::deadline()?))
    }

    /// How long until the call expires, zero when it has; none if it never does.
    pub fn remaining(&self) -> Option<Duration> {
        host::call::remaining().map(Duration::from_nanos)
    }

    /// Whether the caller is gone. The host also interrupts a cancelled call, so there is rarely a need to
    /// ask.
    pub fn is_cancelled(&self) -> bool {
        host::call::cancelled()
    }

    /// The caller's address: `ip:port`, or `unix:` for a Unix-domain socket. Empty for calls of timers and
    /// events.
    pub fn peer(&self) -> String {
        host::call::peer()
    }

    /// The caller's IP address; IPv4 also where the host listens on IPv6. None for a Unix-domain socket.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        let address: SocketAddr = self.peer().parse().ok()?;
        Some(address.ip().to_canonical())
    }

    /// The event that this call delivers; none if it is a client's call, or a timer's. Its payload is the
    /// request.
    pub fn event(&self) -> Option<Event> {
        event::of(self)
    }

    /// Whether a timer makes this call.
    pub fn is_by_timer(&self) -> bool {
        self.principal()
            .is_some_and(|principal| principal.id == event::TIMER)
    }

    /// The verified caller; none when the host authenticates nobody. Calls that the host itself makes have
    /// the identities `mortise:timer` and `mortise:event/PLUGIN`.
    pub fn principal(&self) -> Option<Principal> {
        let principal = host::call::principal()?;
        Some(Principal {
            id: principal.id,
            claims: principal.claims,
        })
    }

    /// Identifies the call; the same for each of its attempts.
    pub fn id(&self) -> String {
        host::call::id()
    }

    /// 1 for the first attempt; more when the transaction met a conflict and the handler runs again.
    pub fn attempt(&self) -> u32 {
        host::call::attempt()
    }

    /// The call's place in its client's trace, with the host's span for the call as the parent of what the
    /// handler does. None if the client sent no valid `traceparent`.
    pub fn trace_context(&self) -> Option<TraceContext> {
        let trace = host::call::trace_context()?;
        Some(TraceContext {
            traceparent: trace.traceparent,
            tracestate: trace.tracestate,
        })
    }

    /// The time. Under test it is the fake host's clock, so prefer it to [`SystemTime::now`].
    pub fn now(&self) -> SystemTime {
        host::clock::now()
    }

    /// Bytes fit for secrets. Under test they come from a seed.
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        host::random::fill(&mut bytes);
        bytes
    }

    /// The operator's value of a configuration key, none if it is not set. For more than one key derive
    /// [`Config`](macro@crate::Config), which also tells the operator about them.
    ///
    /// # Errors
    /// [`Internal`](crate::Code::Internal) when the value does not parse; the operator's log says why.
    pub fn config<T: ConfigValue>(&self, key: &str) -> Result<Option<T>, Status> {
        config::get(key)
    }

    /// The table `name` for reading; values are messages of type `M`.
    pub fn table<'c, M: Message + Default>(&'c self, name: &'c str) -> ReadTable<'c, M> {
        ReadTable::new(name)
    }

    /// A table that keeps indexes with its messages, for reading.
    pub fn indexed<'c, M: Message + Default>(&'c self, table: &'c Indexed<M>) -> ReadIndexedTable<'c, M> {
        ReadIndexedTable::new(table)
    }

    /// The store as plain bytes, for reading.
    pub fn store(&self) -> ReadStore<'_> {
        ReadStore::new()
    }

    /// The target `name` outside, which the plugin must ask for with `#[plugin(grants(…))]` and the operator
    /// must grant. See [`upstream`](crate::upstream).
    pub fn upstream(&self, name: &str) -> Upstream<'_> {
        Upstream::new(name)
    }

    /// Takes `tokens` from the rate-limit bucket `bucket`, which all instances of the plugin share. What is
    /// taken stays taken, even if the call fails.
    ///
    /// # Errors
    /// When the host cannot decide, or `rate` makes no sense (a zero, or more tokens than a burst).
    pub fn take(&self, bucket: &str, tokens: u32, rate: Rate) -> Result<Decision, Status> {
        limits::take(bucket, tokens, rate)
    }

    /// Takes one token, or fails.
    ///
    /// # Errors
    /// [`ResourceExhausted`](crate::Code::ResourceExhausted), `Rate limit exceeded; retry after Ns`, with
    /// [`RetryInfo`](crate::details::RetryInfo); otherwise as [`take`](ReadCall::take).
    pub fn limit(&self, bucket: &str, rate: Rate) -> Result<(), Status> {
        limits::limit(bucket, rate)
    }
}

/// A caller whose identity the host has verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// A stable identity, for instance a token's subject.
    pub id: String,
    /// Verified claims: name and value as text, or JSON for a value that is not a scalar.
    pub claims: Vec<(String, String)>,
}

impl Principal {
    /// The first claim called `name`.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims
            .iter()
            .find(|(claim, _)| claim == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A trace's identifiers as W3C Trace Context writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The `traceparent` header.
    pub traceparent: String,
    /// The `tracestate` header.
    pub tracestate: Option<String>,
}
