//! The state of a fake host, and its one call in progress.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem;
use std::time::SystemTime;

use prost::Message;

use super::answer::{Failure, Metadata, Response};
use super::buckets::Buckets;
use super::clock::Clock;
use super::contended::Carried;
use super::idempotency::Answers;
use super::request::Request;
use super::store::{Store, Transaction};
use super::upstream::{self, Upstreams};
use crate::Status;

/// What a fake host keeps from call to call.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: BTreeMap<String, String>,
    pub(super) clock: Clock,
    pub(super) random: u64,
    pub(super) max_level: Option<LogLevel>,
    pub(super) store: Store,
    pub(super) store_failure: Option<Status>,
    pub(super) answers: Answers,
    pub(super) buckets: Buckets,
    pub(super) events: Vec<Event>,
    pub(super) logs: Vec<LogLine>,
    pub(super) upstreams: Upstreams,
    pub(super) carried: Carried,
    calls: u64,
}

impl State {
    /// How many calls there were, the one in progress included.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }
}

impl Default for State {
    fn default() -> State {
        State {
            config: BTreeMap::new(),
            clock: Clock::default(),
            random: 0,
            max_level: Some(LogLevel::Trace),
            store: Store::default(),
            store_failure: None,
            answers: Answers::default(),
            buckets: Buckets::default(),
            events: Vec::new(),
            logs: Vec::new(),
            upstreams: Upstreams::default(),
            carried: Carried::default(),
            calls: 0,
        }
    }
}

/// An event that a committed call published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Different from that of any other event of this host.
    pub id: String,
    /// When it was committed.
    pub time: SystemTime,
    /// The topic.
    pub topic: String,
    /// What events are kept in order by.
    pub key: String,
    /// The encoded message.
    pub payload: Vec<u8>,
    /// How many deliveries of events led to it; 0 if a client's call published it.
    pub hops: u32,
}

impl Event {
    /// The payload as a message.
    ///
    /// # Errors
    /// When it does not parse as an `M`.
    pub fn decode<M: Message + Default>(&self) -> Result<M, prost::DecodeError> {
        M::decode(self.payload.as_slice())
    }
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For finding mistakes.
    Debug,
    /// What goes on.
    Info,
    /// What may be wrong.
    Warn,
    /// What went wrong.
    Error,
}

/// A line of the operator's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How important it is.
    pub level: LogLevel,
    /// Where it comes from: usually a module's path.
    pub target: String,
    /// The message.
    pub message: String,
    /// The fields, those of the spans around it included.
    pub fields: Vec<(String, String)>,
}

impl LogLine {
    /// The first field called `name`.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The call that this thread serves.
pub(super) struct Current {
    pub(super) state: State,
    pub(super) request: Request,
    pub(super) id: String,
    /// Nanoseconds since the Unix epoch.
    pub(super) deadline: Option<u64>,
    pub(super) headers: Metadata,
    pub(super) trailers: Metadata,
    pub(super) transaction: Transaction,
    /// When the last upstream call began, in nanoseconds since the Unix epoch.
    pub(super) upstream_began: u64,
    /// Of this attempt.
    pub(super) decisions_asked: usize,
    pub(super) upstreams_asked: usize,
    /// The attempt called something else than the one before, which ends the call.
    pub(super) diverged: bool,
    /// Why a real host stopped the handler, which ends the call.
    pub(super) stopped: Option<Status>,
}

impl Current {
    /// Nanoseconds until the call expires.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.deadline
            .map(|deadline| deadline.saturating_sub(self.state.clock.unix_nanos()))
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// Uses the call in progress.
///
/// # Panics
/// When there is none: a `Call` is only good while the test runs it.
pub(super) fn with_current<T>(read: impl FnOnce(&mut Current) -> T) -> T {
    try_with_current(read).expect("no call in progress on this thread")
}

/// Uses the call in progress, if there is one. Logging happens outside of calls too.
pub(super) fn try_with_current<T>(read: impl FnOnce(&mut Current) -> T) -> Option<T> {
    CURRENT.with_borrow_mut(|current| current.as_mut().map(read))
}

/// Lends a host's state to the thread for one call, and takes it back however the call ends.
pub(super) struct CallInProgress<'h> {
    home: &'h mut State,
}

impl<'h> CallInProgress<'h> {
    pub(super) fn begin(home: &'h mut State, request: Request) -> CallInProgress<'h> {
        let mut state = mem::take(home);
        if !request.again {
            state.calls += 1;
            state.carried = Carried::default();
        }
        let deadline = request.timeout.map(|timeout| {
            let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
            state.clock.unix_nanos().saturating_add(timeout)
        });
        let id = request
            .id
            .clone()
            .unwrap_or_else(|| format!("call-{}", state.calls));
        let mut transaction = Transaction::new(request.read_only, request.hops);
        if let Some(timer) = &request.timer {
            transaction.settle(&state.store, timer);
        }
        let current = Current {
            state,
            request,
            id,
            deadline,
            headers: Metadata::default(),
            trailers: Metadata::default(),
            transaction,
            upstream_began: 0,
            decisions_asked: 0,
            upstreams_asked: 0,
            diverged: false,
            stopped: None,
        };
        let nested = CURRENT.with_borrow_mut(|slot| match slot {
            Some(_) => Some(current),
            None => {
                *slot = Some(current);
                None
            }
        });
        if let Some(current) = nested {
            *home = current.state;
            panic!("a call is already in progress on this thread");
        }
        CallInProgress { home }
    }

    /// Commits if the handler succeeded in time. None if it did and may not commit.
    pub(super) fn end<T>(
        self,
        result: Result<T, Status>,
        may_commit: bool,
    ) -> Option<Result<Response<T>, Failure>> {
        let current = CURRENT
            .with_borrow_mut(Option::take)
            .expect("begun above, and ended once");
        let expired = current.remaining() == Some(0);
        let Current {
            mut state,
            headers,
            trailers,
            transaction,
            diverged,
            stopped,
            ..
        } = current;
        let result = match diverged {
            true => Err(upstream::diverged()),
            false => result,
        };
        let ended_by_host = match stopped {
            _ if expired => Some(Status::deadline_exceeded("Deadline exceeded")),
            stopped => stopped,
        };
        if result.is_ok() && ended_by_host.is_none() {
            if !may_commit {
                *self.home = state;
                return None;
            }
            let events = state.store.commit(transaction, state.clock.now());
            state.events.extend(events);
        }
        *self.home = state;
        if let Some(status) = ended_by_host {
            // What the handler has set is gone with it.
            let (headers, trailers) = Default::default();
            return Some(Err(Failure {
                status,
                headers,
                trailers,
            }));
        }
        Some(match result {
            Ok(message) => Ok(Response {
                message,
                headers,
                trailers,
            }),
            Err(status) => Err(Failure {
                status,
                headers,
                trailers,
            }),
        })
    }
}

impl Drop for CallInProgress<'_> {
    fn drop(&mut self) {
        // Still there only if the handler panicked.
        if let Some(current) = CURRENT.with_borrow_mut(Option::take) {
            *self.home = current.state;
        }
    }
}
