//! The store, events and rate limits, and calls that end badly after using them.

use std::time::Duration;

use mortise_guest::bindings::mortise::plugin::types::Error;
use mortise_guest::bindings::mortise::plugin::{events, store};
use mortise_guest::{Call, Decision, Rate, Status};

use crate::pb::write_then_request::Ending;
use crate::pb::{IncrementRequest, TakeRequest, TakeResponse, WriteThenRequest, WriteThenResponse};
use crate::resources;

/// Over the host's default limit on messages, 10 MiB, and well within that on memory.
const HUGE: u32 = 12 * 1024 * 1024;

/// Topic of the event that goes with each write.
const TOPIC: &str = "faults.written";

pub fn write_then(call: &Call, request: &WriteThenRequest) -> Result<WriteThenResponse, Status> {
    call.store().put(request.key.as_bytes(), &request.value)?;
    call.publish_bytes(TOPIC, &request.key, &request.value)?;
    match request.ending() {
        Ending::Ok => Ok(WriteThenResponse::default()),
        Ending::Fail => Err(Status::aborted("failed as told")),
        Ending::Panic => panic!("panicked as told"),
        Ending::Loop => resources::compute_for_ever(),
        Ending::HugeAnswer => Ok(WriteThenResponse {
            padding: resources::bytes(HUGE),
        }),
        Ending::Unspecified => Err(Status::invalid_argument("ending must be set")),
    }
}

/// Straight to the contract's imports, as a guest without the SDK could: a `ReadCall` has no way to write.
pub fn write_anyway(key: &str) -> Vec<String> {
    let said = |result: Result<(), Error>| result.err().map(|error| error.message).unwrap_or_default();
    vec![
        said(store::put(key.as_bytes(), b"written")),
        said(store::insert(key.as_bytes(), b"written").map(drop)),
        said(store::delete(key.as_bytes()).map(drop)),
        said(store::put_if(key.as_bytes(), b"written", 1).map(drop)),
        said(store::delete_if(key.as_bytes(), 1).map(drop)),
        said(events::publish(TOPIC, key, b"written")),
    ]
}

/// The counter's new value.
pub fn increment(call: &Call, request: &IncrementRequest) -> Result<u64, Status> {
    let key = request.key.as_bytes();
    let value = match call.store().get(key)? {
        None => 0,
        Some(found) => {
            let bytes = found.value.try_into();
            u64::from_be_bytes(bytes.map_err(|_| Status::failed_precondition("the key is no counter"))?)
        }
    };
    resources::sleep(request.wait_milliseconds);
    call.store().put(key, &(value + 1).to_be_bytes())?;
    Ok(value + 1)
}

pub fn take(call: &Call, request: &TakeRequest) -> Result<TakeResponse, Status> {
    let period = Duration::from_millis(request.period_milliseconds);
    let rate = Rate::new(request.burst, request.refill, period);
    let decision = call.take(&request.bucket, request.tokens, rate)?;
    if request.fail {
        return Err(Status::aborted("failed as told"));
    }
    Ok(match decision {
        Decision::Allowed => TakeResponse {
            allowed: true,
            retry_after_milliseconds: 0,
        },
        Decision::Refused { retry_after } => TakeResponse {
            allowed: false,
            retry_after_milliseconds: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
        },
    })
}
