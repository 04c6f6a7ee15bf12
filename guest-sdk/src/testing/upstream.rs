//! Upstreams under test: functions that answer, and what they were asked.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prost::Message;

use super::answer::Metadata;
use super::call::{Current, with_current};
use super::contended::Diverged;
use super::metadata;
use crate::bindings::mortise::plugin::types::MetadataEntry as WitEntry;
use crate::bindings::mortise::plugin::upstream as wit;
use crate::details::ErrorInfo;
use crate::upstream::{Reply, ReplyMetadata};
use crate::{MetadataEntry, Status};

/// A request that a handler sent to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRequest {
    /// The operator's name for the target.
    pub target: String,
    /// `/package.Service/Method`.
    pub method: String,
    /// The encoded message.
    pub message: Vec<u8>,
    /// What the handler added. What a host adds by itself is not there.
    pub metadata: Metadata,
    /// How long the handler waits for the answer: its own timeout, or what remains of its call if that is less.
    pub timeout: Option<Duration>,
}

impl UpstreamRequest {
    /// The message.
    ///
    /// # Errors
    /// When it does not parse as an `M`.
    pub fn decode<M: Message + Default>(&self) -> Result<M, prost::DecodeError> {
        M::decode(self.message.as_slice())
    }
}

/// Answers the calls of one method.
pub(super) type Script = Box<dyn FnMut(&UpstreamRequest) -> Result<Reply<Vec<u8>>, Status>>;

/// The targets of a fake host.
#[derive(Default)]
pub(super) struct Upstreams {
    scripts: BTreeMap<String, BTreeMap<String, Script>>,
    pub(super) requests: Vec<UpstreamRequest>,
}

impl Upstreams {
    pub(super) fn script(&mut self, target: &str, method: &str, script: Script) {
        let target = self.scripts.entry(target.to_owned()).or_default();
        target.insert(method.to_owned(), script);
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = self
            .scripts
            .iter()
            .map(|(target, methods)| (target, methods.keys()));
        f.debug_struct("Upstreams")
            .field(
                "scripts",
                &methods
                    .map(|(target, methods)| (target, methods.collect::<Vec<_>>()))
                    .collect::<Vec<_>>(),
            )
            .field("requests", &self.requests)
            .finish()
    }
}

pub(super) fn call(request: &wit::Request) -> Result<wit::Reply, wit::Failure> {
    let earlier = with_current(|call| {
        let number = call.upstreams_asked;
        call.upstreams_asked += 1;
        call.state.carried.reply(number, request)
    });
    match earlier {
        Some(Ok(outcome)) => return outcome,
        Some(Err(Diverged)) => {
            with_current(|call| call.diverged = true);
            return Err(failure(diverged(), wit::Origin::Host));
        }
        None => {}
    }
    let outcome = make(request);
    with_current(|call| call.state.carried.replied(request, &outcome));
    outcome
}

/// Why a call ends of which an attempt called something else than the one before.
pub(super) fn diverged() -> Status {
    let message = "An attempt of this call called another upstream than the one before";
    Status::aborted(message).with_detail(reason("UPSTREAM_DIVERGED"))
}

fn make(request: &wit::Request) -> Result<wit::Reply, wit::Failure> {
    let asked = with_current(|call| ask(call, request))?;
    // Not within `with_current`: a script may look at the call's clock, and move it.
    let mut script = with_current(|call| take_script(call, request))?;
    let answer = script(&asked);
    with_current(|call| {
        call.state
            .upstreams
            .script(&request.target, &request.method, script);
        let late = asked.timeout.is_some_and(|timeout| {
            let began = call.upstream_began;
            call.state.clock.unix_nanos().saturating_sub(began) >= nanos(timeout)
        });
        if late {
            let message = format!("upstream {} did not answer in time", request.target);
            return Err(refused(Status::deadline_exceeded(message), "UPSTREAM_TIMEOUT"));
        }
        answer.map(reply).map_err(answered)
    })
}

/// The request as the target sees it.
fn ask(call: &mut Current, request: &wit::Request) -> Result<UpstreamRequest, wit::Failure> {
    if !call.state.upstreams.scripts.contains_key(&request.target) {
        let message = format!("upstream {} is not granted to this plugin", request.target);
        return Err(refused(
            Status::permission_denied(message),
            "UPSTREAM_NOT_ALLOWED",
        ));
    }
    let mut entries: Vec<MetadataEntry> = Vec::new();
    for WitEntry { key, value } in &request.metadata {
        let added = metadata::added(entries.iter(), key, value).map_err(|error| {
            let message = format!("the upstream request is not valid: {}", error.message);
            refused(Status::invalid_argument(message), "UPSTREAM_INVALID_REQUEST")
        })?;
        entries.push(added);
    }
    call.upstream_began = call.state.clock.unix_nanos();
    let asked = UpstreamRequest {
        target: request.target.clone(),
        method: request.method.clone(),
        message: request.message.clone(),
        metadata: Metadata { entries },
        timeout: [request.timeout, call.remaining()]
            .into_iter()
            .flatten()
            .min()
            .map(Duration::from_nanos),
    };
    call.state.upstreams.requests.push(asked.clone());
    Ok(asked)
}

fn take_script(call: &mut Current, request: &wit::Request) -> Result<Script, wit::Failure> {
    let target = call.state.upstreams.scripts.get_mut(&request.target);
    let script = target.and_then(|target| target.remove(&request.method));
    script.ok_or_else(|| answered(Status::unimplemented(format!("{} is not served", request.method))))
}

fn reply(reply: Reply<Vec<u8>>) -> wit::Reply {
    wit::Reply {
        message: reply.message,
        initial_metadata: entries(&reply.headers),
        trailing_metadata: entries(&reply.trailers),
    }
}

fn entries(metadata: &ReplyMetadata) -> Vec<WitEntry> {
    let entries = metadata.entries().iter().cloned();
    entries
        .map(|MetadataEntry { key, value }| WitEntry { key, value })
        .collect()
}

fn answered(status: Status) -> wit::Failure {
    failure(status, wit::Origin::Target)
}

/// With the reason that the host gives.
fn refused(status: Status, why: &str) -> wit::Failure {
    failure(status.with_detail(reason(why)), wit::Origin::Host)
}

fn reason(reason: &str) -> ErrorInfo {
    ErrorInfo {
        reason: reason.to_owned(),
        domain: "mortise".to_owned(),
        ..ErrorInfo::default()
    }
}

fn failure(status: Status, origin: wit::Origin) -> wit::Failure {
    wit::Failure {
        status: status.into(),
        origin,
        initial_metadata: Vec::new(),
        trailing_metadata: Vec::new(),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
