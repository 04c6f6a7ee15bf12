//! Calls that the host makes itself: the way of any call, from its route on, without a listener, a client's
//! proof of identity and a client's rate.

use std::fmt::Write as _;
use std::pin::pin;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::Instant;

use super::{Answer, Dispatcher};
use crate::auth::Principal;
use crate::capability::caller::{Caller, HostCall, Made, NotMade};
use crate::capability::store::{EventHeader, Health};
use crate::capability::upstream::Journal;
use crate::deadline::Deadline;
use crate::metadata::RequestMetadata;
use crate::observe::metrics::{CallRecord, Stage};
use crate::observe::{CallId, CallSpan, printable};
use crate::plugin::state::Call;
use crate::router::{NotFound, Route};
use crate::status::{Failure, code_name};

/// Of an error in lists of what failed.
const MAX_ERROR_BYTES: usize = 512;

/// What is escaped in an attribute's value (CloudEvents, HTTP protocol binding 1.0.2, section 3.1.3.2).
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

impl Caller for Dispatcher {
    fn call(&self, call: HostCall) -> Made<'_> {
        Box::pin(self.make(call))
    }
}

impl Dispatcher {
    async fn make(&self, call: HostCall) -> Result<(), NotMade> {
        let route = self
            .router
            .find(&call.plugin, &call.method)
            .map_err(|not_found| {
                let HostCall { plugin, method, .. } = &call;
                match not_found {
                    NotFound::Plugin => NotMade::NotNow(format!("plugin {plugin} is not loaded")),
                    NotFound::Method => NotMade::Failed(format!("plugin {plugin} has no method {method}")),
                }
            })?;
        let mut record = route.generation.metrics.begin(route.method, Instant::now());
        let id = CallId::random();
        let span = CallSpan::new(id, &HeaderMap::new(), &route, None);
        let made = async {
            let outcome = self.answer_host(call, id, &route, &mut record).await;
            self.conclude(&outcome, &route, record);
            match result(outcome) {
                // Whatever it failed by: the plugin's part in it is unknown.
                Err(NotMade::Failed(error)) if self.store.health() != Health::Open => {
                    Err(NotMade::NotNow(error))
                }
                result => result,
            }
        };
        span.scope(made).await
    }

    async fn answer_host(
        &self,
        call: HostCall,
        id: CallId,
        route: &Route,
        record: &mut CallRecord<'_>,
    ) -> Result<Answer, Failure> {
        let bounds = &route.policy().deadline;
        let asked = bounds.default.unwrap_or(call.timeout);
        let budget = bounds.maximum.map_or(asked, |maximum| asked.min(maximum));
        let deadline = Deadline::after(record.arrived(), Some(budget));
        let claim = route.generation.claim(route.method);
        let admitted = self.admission.admit(claim, &deadline);
        let permit = self.cut_off.bound(pin!(admitted)).await;
        record.lap(Stage::Queue);
        let _permit = permit.inspect_err(|refused| record.not_admitted(refused.row().reason))?;
        let (principal, headers) = match &call.event {
            Some(event) => (format!("event/{}", event.source), attributes(event, call.hops)),
            None => ("timer".to_owned(), HeaderMap::new()),
        };
        let state = Call {
            id,
            deadline,
            metadata: RequestMetadata::of_host(headers),
            trace: None,
            peer: "".into(),
            principal: Some(Arc::new(Principal::of_host(&principal))),
            hops: call.hops,
            errand: Some(call.errand),
            decisions: Mutex::default(),
            upstream: Journal::default(),
        };
        self.attempts(route, Arc::new(state), call.request, None, record)
            .await
    }
}

/// An event's attributes as metadata: those of CloudEvents in its HTTP binding, and `ce-hops`.
fn attributes(event: &EventHeader, hops: u32) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| {
        let escaped = utf8_percent_encode(value, ESCAPED).to_string();
        // What is escaped is printable ASCII.
        if let Ok(value) = HeaderValue::try_from(escaped) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    add("ce-specversion", "1.0");
    add("ce-id", &event.id);
    add("ce-source", &event.source);
    add("ce-type", &event.topic);
    if !event.key.is_empty() {
        add("ce-subject", &event.key);
    }
    add(
        "ce-time",
        &humantime::format_rfc3339_nanos(event.time).to_string(),
    );
    add("ce-hops", &hops.to_string());
    headers
}

fn result(outcome: Result<Answer, Failure>) -> Result<(), NotMade> {
    let (name, message) = match outcome {
        Ok(Answer::Ok { .. }) => return Ok(()),
        Ok(Answer::Failed { status, .. }) => (code_name(status.code), status.message.into()),
        // The plugin had no part in it.
        Err(failure @ (Failure::Overloaded { .. } | Failure::ShuttingDown)) => {
            return Err(NotMade::NotNow(failure.row().reason.to_owned()));
        }
        Err(failure) => {
            let row = failure.row();
            (row.reason, row.message)
        }
    };
    let mut error = name.to_owned();
    if !message.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(error, ": {message}");
    }
    Err(NotMade::Failed(printable(&error, MAX_ERROR_BYTES)))
}
