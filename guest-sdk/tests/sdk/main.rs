//! The SDK as a plugin uses it, against the fake host.

#[path = "../support/greeter.rs"]
mod pb;

mod call;
mod config;
mod contended;
mod deadline;
mod details;
mod events;
mod idempotency;
mod indexes;
mod keys;
mod limits;
mod logging;
mod metadata;
mod plugin;
mod readme;
mod status;
mod tables;
mod timers;
mod transactions;
mod upstream;

use mortise_guest::testing::{Host, Request};
use mortise_guest::{Call, Status};

/// Runs one call that must succeed, and gives what the handler returned.
fn ok<T>(host: &mut Host, handler: impl FnOnce(&mut Call) -> Result<T, Status>) -> T {
    match host.call(Request::new(), handler) {
        Ok(answer) => answer.message,
        Err(failure) => panic!("{:?}", failure.status),
    }
}

/// Runs one call that must fail, and gives its status.
fn fail<T>(host: &mut Host, handler: impl FnOnce(&mut Call) -> Result<T, Status>) -> Status {
    match host.call(Request::new(), handler) {
        Ok(_) => panic!("the call succeeded"),
        Err(failure) => failure.status,
    }
}
