//! Runs handlers natively, against a fake host that keeps the real one's rules.
//!
//! ```
//! use mortise_guest::{Call, Status, testing};
//!
//! fn visit(call: &mut Call) -> Result<u64, Status> {
//!     let visitor = call.metadata().get("user-id").ok_or_else(|| Status::unauthenticated("Who are you?"))?;
//!     let visits = call.table::<u64>("visits");
//!     let count = visits.get(&visitor)?.unwrap_or(0) + 1;
//!     visits.put(&visitor, &count)?;
//!     call.trailers().insert("visits", count.to_string())?;
//!     Ok(count)
//! }
//!
//! let mut host = testing::Host::new();
//! assert!(host.call(testing::Request::new(), visit).is_err());
//! for count in 1..=3 {
//!     let answer = host.call(testing::Request::new().metadata("user-id", "ann"), visit).unwrap();
//!     assert_eq!(answer.message, count);
//! }
//! ```
//!
//! What a handler writes and publishes takes effect if and only if it returns `Ok` before its deadline;
//! metadata is checked as the real host checks it; rate-limit decisions stand whatever becomes of the call.
//! Time moves only when the test moves it, and random bytes come from a seed. Calls run one after the other,
//! so there are no conflicts, but for those that [`Host::contended`] has a call meet.
//!
//! A panic in a handler is a panic of the test.
//!
//! # In the component
//!
//! `mortise test` runs the same tests with each handler that they call in the plugin's component, in a sandbox of
//! the real host; so does `cargo test` with `MORTISE_TEST_WASM` set to the component's path, and `mortise` on the
//! `PATH` or named by `MORTISE_BIN`. The fake host goes on answering what handlers ask of it. A trap or a panic
//! then fails the call as it does for clients, instead of ending the test: see [`in_component`].
//!
//! What else a closure does that [`Host::call`] is given runs natively, as do handlers of a service named in
//! `with(…)` that are called by name, unless their `impl` has [`#[handlers]`](macro@crate::handlers). A failure's
//! cause is in [`Host::logs`] alone. Tests panic if there is no sandbox to be had, or the component is not the
//! plugin that they are about.

mod answer;
mod buckets;
mod call;
mod clock;
pub(crate) mod component;
mod contended;
mod idempotency;
pub(crate) mod imports;
mod metadata;
mod refusal;
mod request;
mod store;
mod timers;
mod upstream;

use std::time::{Duration, SystemTime};

use prost::Message;

use crate::event::{EVENT, TIMER};
use crate::plugin::{self, Plugin};
use crate::store::{StoredKey, stored_key};
use crate::upstream::Reply;
use crate::{Call, Key, Method, Status, log};

pub use answer::{Failure, Metadata, Response};
pub use call::{Event, LogLevel, LogLine};
pub use clock::Clock;
pub use component::in_component;
pub use request::Request;
pub use timers::{Fired, Timer};
pub use upstream::UpstreamRequest;

use call::{CallInProgress, State};
use idempotency::{Scoped, refused};

/// How many deliveries of events may lead from one to the next.
const MAX_HOPS: u32 = 8;

/// A fake host with its store, its clock and the operator's configuration.
#[derive(Debug, Default)]
pub struct Host {
    state: State,
}

impl Host {
    /// A host with an empty store and no configuration, at the beginning of the year 2026 (UTC).
    pub fn new() -> Host {
        Host::default()
    }

    /// Sets a configuration value, as the operator would: `true`, `500`, `"eu"`.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl ToString) -> Host {
        self.state.config.insert(key.into(), value.to_string());
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn at(self, time: SystemTime) -> Host {
        self.state.clock.set(time);
        self
    }

    /// Sets the seed of random bytes. Hosts of one seed give the same.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Host {
        self.state.random = seed;
        self
    }

    /// Sets the most detailed level that is logged; none for no logs. At first everything is.
    #[must_use]
    pub fn max_level(mut self, level: Option<LogLevel>) -> Host {
        self.state.max_level = level;
        self
    }

    /// Grants the target `name`, where `answer` serves `method` (`/package.Service/Method`). Other methods of
    /// the target answer `UNIMPLEMENTED`; other targets are not granted.
    ///
    /// # Panics
    /// A handler that sends something else than a `Req` panics.
    #[must_use]
    pub fn upstream<Req, Res>(
        self,
        name: &str,
        method: &str,
        mut answer: impl FnMut(Req) -> Result<Res, Status> + 'static,
    ) -> Host
    where
        Req: Message + Default,
        Res: Message,
    {
        self.upstream_with(name, method, move |request| {
            answer(decode(&request.message)).map(|message| Reply {
                message: message.encode_to_vec(),
                ..Reply::default()
            })
        })
    }

    /// The same, with an answer that looks at the whole request and gives a whole reply.
    #[must_use]
    pub fn upstream_with(
        mut self,
        name: &str,
        method: &str,
        answer: impl FnMut(&UpstreamRequest) -> Result<Reply<Vec<u8>>, Status> + 'static,
    ) -> Host {
        self.state.upstreams.script(name, method, Box::new(answer));
        self
    }

    /// Sets how many bytes of keys and values the store may keep, and how many keys, as the operator does
    /// with `max_store_bytes` and `max_store_keys`.
    #[must_use]
    pub fn quota(mut self, max_bytes: u64, max_keys: u64) -> Host {
        self.state.store.quota = store::Quota { max_bytes, max_keys };
        self
    }

    /// Makes every use of the store fail with this status from now on, or work again.
    pub fn fail_store(&mut self, failure: Option<Status>) {
        self.state.store_failure = failure;
    }

    /// Lets time pass.
    pub fn advance(&mut self, time: Duration) {
        self.state.clock.advance(time);
    }

    /// The clock, to move it while a call runs.
    pub fn clock(&self) -> Clock {
        self.state.clock.clone()
    }

    /// Runs a handler as one call.
    ///
    /// # Errors
    /// The handler's failure; `DEADLINE_EXCEEDED` if the call expired before the handler was done.
    ///
    /// # Panics
    /// When the handler panics, or makes a call itself.
    pub fn call<T>(
        &mut self,
        request: Request,
        handler: impl FnOnce(&mut Call) -> Result<T, Status>,
    ) -> Result<Response<T>, Failure> {
        self.run(request, |call| logged(handler(call)))
    }

    /// Runs a method of a plugin from encoded request to encoded response, on the path that it takes in
    /// WebAssembly. A call with the metadata `idempotency-key` happens once, as with the real host.
    ///
    /// # Errors
    /// As [`call`](Host::call); `UNIMPLEMENTED` when the plugin has no such method.
    ///
    /// # Panics
    /// As [`call`](Host::call).
    pub fn unary<P: Plugin>(
        &mut self,
        request: Request,
        path: &str,
        message: &[u8],
    ) -> Result<Response<Vec<u8>>, Failure> {
        let found = plugin::methods::<P>().find(|method| method.path == path);
        if found.is_some_and(|method| method.internal) {
            return self.unserved(request, path);
        }
        self.method::<P>(request, path, message)
    }

    /// The same for a call that the host itself makes, which may be of an internal method.
    fn method<P: Plugin>(
        &mut self,
        request: Request,
        path: &str,
        message: &[u8],
    ) -> Result<Response<Vec<u8>>, Failure> {
        let method = (0..)
            .zip(plugin::methods::<P>())
            .find(|(_, method)| method.path == path);
        match method {
            Some((index, method)) if method.read_only => {
                self.run(request.read_only(), |_| handle::<P>(index, message))
            }
            Some((index, _)) => self.once(request, path, message, |host, request| {
                host.run(request, |_| handle::<P>(index, message))
            }),
            None => self.unserved(request, path),
        }
    }

    fn unserved(&mut self, request: Request, path: &str) -> Result<Response<Vec<u8>>, Failure> {
        self.run(request, |_| {
            Err(Status::unimplemented(format!("{path} is not served")))
        })
    }

    /// Makes the calls of all timers that are due by now, in the order of time, as a host does: each with 30
    /// s to end, by `mortise:timer`. One that fails is due again later, for the first time after 200 ms, and
    /// given up when it has failed ten times. Timers that these calls schedule wait for the next time.
    ///
    /// # Panics
    /// As [`call`](Host::call).
    pub fn fire_timers<P: Plugin>(&mut self) -> Vec<Fired> {
        let due = self.state.store.timers.due(self.state.clock.now());
        let mut fired = Vec::new();
        for timer in due {
            if !self.state.store.timers.pending.contains_key(&timer.id) {
                // One before it has cancelled it.
                continue;
            }
            let mut request = Request::new().peer("").principal(TIMER).timeout(timers::TIMEOUT);
            request.hops = timer.hops;
            request.timer = Some(timer.id.clone());
            let result = self.method::<P>(request, &timer.method, &timer.request);
            if result.is_err() {
                let now = self.state.clock.now();
                self.state.store.timers.failed(&timer.id, now);
            }
            fired.push(Fired { timer, result });
        }
        fired
    }

    /// The timers that are pending, in the order of time.
    pub fn timers(&self) -> Vec<Timer> {
        self.state
            .store
            .timers
            .due(SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::MAX))
    }

    /// The timers that were given up, the oldest first.
    pub fn dead_timers(&self) -> &[Timer] {
        &self.state.store.timers.dead
    }

    /// Delivers an event to a method, as a host does that has a subscription for it: with the payload as the
    /// request, the rest in the metadata, by `mortise:event/SOURCE`. The event may be one of another host's
    /// [`events`](Host::events). A host makes no second call for an event that succeeded; this does what it
    /// is told.
    ///
    /// # Errors
    /// As [`unary`](Host::unary); `FAILED_PRECONDITION` if eight deliveries led to the event, after which a
    /// host makes no call for it.
    ///
    /// # Panics
    /// As [`call`](Host::call).
    pub fn deliver<P: Plugin, Req>(
        &mut self,
        source: &str,
        event: &Event,
        method: Method<Req>,
    ) -> Result<Response<Vec<u8>>, Failure> {
        if event.hops >= MAX_HOPS {
            let message = format!("{MAX_HOPS} deliveries from plugin to plugin led to the event");
            return self.run(Request::new(), |_| Err(Status::failed_precondition(message)));
        }
        let mut request = Request::new()
            .peer("")
            .principal(&format!("{EVENT}{source}"))
            .timeout(timers::TIMEOUT);
        request.hops = event.hops + 1;
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", &event.id),
            ("ce-source", source),
            ("ce-type", &event.topic),
            ("ce-subject", &event.key),
            ("ce-time", &prost_types::Timestamp::from(event.time).to_string()),
            ("ce-hops", &request.hops.to_string()),
        ] {
            if !value.is_empty() {
                request = request.metadata(name, &percent_encoded(value));
            }
        }
        self.method::<P>(request, method.path(), &event.payload)
    }

    /// Runs a call, or answers it as an earlier one with the same `idempotency-key` was.
    fn once(
        &mut self,
        request: Request,
        path: &str,
        message: &[u8],
        run: impl FnOnce(&mut Host, Request) -> Result<Response<Vec<u8>>, Failure>,
    ) -> Result<Response<Vec<u8>>, Failure> {
        let Some(scoped) = Scoped::of(&request, path).map_err(refused)? else {
            return run(self, request);
        };
        if self.state.store_failure.is_some() {
            let message = "The store is unavailable; nothing was changed";
            return Err(refused(Status::unavailable(message)));
        }
        let now = self.state.clock.unix_nanos();
        let recorded = self.state.answers.get(&scoped, message, now).map_err(refused)?;
        if let Some(response) = recorded {
            return Ok(response);
        }
        let response = run(self, request)?;
        let now = self.state.clock.unix_nanos();
        self.state.answers.record(scoped, message, &response, now);
        Ok(response)
    }

    fn run<T>(
        &mut self,
        request: Request,
        body: impl FnOnce(&mut Call) -> Result<T, Status>,
    ) -> Result<Response<T>, Failure> {
        let ended = self.attempt(request, true, body);
        ended.expect("it meets no conflict")
    }

    /// One attempt of a call; none if it would be committed, and is not to be.
    fn attempt<T>(
        &mut self,
        request: Request,
        may_commit: bool,
        body: impl FnOnce(&mut Call) -> Result<T, Status>,
    ) -> Option<Result<Response<T>, Failure>> {
        log::start_call();
        let in_progress = CallInProgress::begin(&mut self.state, request);
        let subscriber = tracing_core::Dispatch::new(log::Forward);
        let logging = tracing_core::dispatcher::set_default(&subscriber);
        let result = body(&mut Call::current());
        drop(logging);
        in_progress.end(result, may_commit)
    }

    /// The events committed so far, oldest first.
    pub fn events(&self) -> &[Event] {
        &self.state.events
    }

    /// What was logged so far, oldest first.
    pub fn logs(&self) -> &[LogLine] {
        &self.state.logs
    }

    /// The requests that were sent to upstreams so far, oldest first.
    pub fn upstream_requests(&self) -> &[UpstreamRequest] {
        &self.state.upstreams.requests
    }

    /// The message at `key` in a table, as committed.
    ///
    /// # Panics
    /// When the stored value is no `M`.
    pub fn stored<M: Message + Default>(&self, table: &str, key: impl Key) -> Option<M> {
        self.state.store.get(&stored_key(table, key)).map(decode)
    }

    /// All of a table, as committed, in the order of its keys.
    ///
    /// # Panics
    /// When a stored value is no `M`.
    pub fn rows<M: Message + Default>(&self, table: &str) -> Vec<(StoredKey, M)> {
        let prefix = stored_key(table, ());
        let entries = self.state.store.under(&prefix);
        entries
            .map(|(key, value)| (StoredKey::new(key[prefix.len()..].to_vec()), decode(value)))
            .collect()
    }

    /// How many entries the whole store has, as committed.
    pub fn stored_len(&self) -> usize {
        self.state.store.len()
    }
}

/// Serves one call: in the component, or natively.
fn handle<P: Plugin>(index: u32, request: &[u8]) -> Result<Vec<u8>, Status> {
    component::handle::<P>(index, request).unwrap_or_else(|| plugin::handle::<P>(index, request.to_vec()))
}

fn logged<T>(result: Result<T, Status>) -> Result<T, Status> {
    if let Err(status) = &result {
        log::failure(status);
    }
    result
}

/// As a host writes an event's attribute.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' | ..=b' ' | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            plain => encoded.push(char::from(plain)),
        }
    }
    encoded
}

fn decode<M: Message + Default>(value: &[u8]) -> M {
    M::decode(value).expect("the bytes are a message of the type asked for")
}
