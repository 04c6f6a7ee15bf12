//! Calls of timers and events.

use std::time::UNIX_EPOCH;

use mortise_guest::bindings::mortise::plugin::timers;
use mortise_guest::bindings::mortise::plugin::types::Error;
use mortise_guest::prost::Message;
use mortise_guest::{Call, Status};

use crate::pb::{
    FaultsMethod, IncrementRequest, RememberRequest, RememberResponse, ScheduleRequest, ScheduleResponse,
};
use crate::state;

/// Straight to the contract's import, which tells the bound that was passed.
pub fn schedule(call: &Call, request: ScheduleRequest) -> Result<ScheduleResponse, Status> {
    let method = match request.method.as_str() {
        "" => FaultsMethod::REMEMBER.path(),
        method => method,
    };
    let now = call
        .now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let when = u64::try_from(now).unwrap_or_default() + u64::from(request.delay_milliseconds) * 1_000_000;
    let message = request.request.unwrap_or_default().encode_to_vec();
    let mut response = ScheduleResponse::default();
    for _ in 0..request.count {
        match timers::schedule(when, method, &message) {
            Ok(id) => response.ids.push(id),
            Err(Error { message, limit, .. }) => {
                response.refusal = message;
                response.limit = limit.unwrap_or_default();
                break;
            }
        }
    }
    if request.cancel {
        for id in &response.ids {
            call.cancel_timer(id)?;
        }
    }
    if request.fail {
        return Err(Status::aborted("failed as told"));
    }
    Ok(response)
}

pub fn remember(call: &Call, request: &RememberRequest) -> Result<RememberResponse, Status> {
    if !request.after.is_empty() && call.store().get(request.after.as_bytes())?.is_none() {
        return Err(Status::failed_precondition("not yet, as told"));
    }
    let increment = IncrementRequest {
        key: request.key.clone(),
        ..IncrementRequest::default()
    };
    state::increment(call, &increment)?;
    let caller = call.principal().map(|principal| principal.id).unwrap_or_default();
    let put = |what: &str, value: &str| {
        call.store()
            .put(format!("{}/{what}", request.key).as_bytes(), value.as_bytes())
    };
    put("caller", &format!("{caller} {:?}", call.peer()))?;
    if request.number > 0 {
        let last = call.store().get(format!("{}/number", request.key).as_bytes())?;
        let last = last.map_or_else(
            || "0".into(),
            |found| String::from_utf8_lossy(&found.value).into_owned(),
        );
        if last != (request.number - 1).to_string() {
            put("disorder", &format!("{} after {last}", request.number))?;
        }
        put("number", &request.number.to_string())?;
    }
    if let Some(event) = call.event() {
        let seen = format!(
            "{} {} {} {} {}",
            event.id, event.source, event.topic, event.key, event.hops
        );
        put("event", &seen)?;
    }
    if !request.publish.is_empty() {
        call.publish(&request.publish, &request.key, request)?;
    }
    Ok(RememberResponse {})
}
