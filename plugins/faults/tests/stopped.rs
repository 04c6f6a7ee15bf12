//! Handlers that the host stops. Natively they would end the tests, so here they are called only in the
//! component, as `mortise test` has it.

use std::fmt::Debug;

use faults::Faults;
use faults::pb::misbehave_request::Way;
use faults::pb::{self, Faults as _};
use mortise_guest::details::ErrorInfo;
use mortise_guest::testing::{Failure, Host, LogLevel, Request, in_component};
use mortise_guest::{Call, Code, Status};

/// Runs a handler after something was stored and set.
fn stopped<T: Debug>(host: &mut Host, handler: impl FnOnce(&mut Call) -> Result<T, Status>) -> Failure {
    let stopped = host.call(Request::new(), |call| {
        call.table::<u64>("written").put("before", &1)?;
        call.headers().insert("set", "before")?;
        handler(call)
    });
    let failure = stopped.expect_err("it is stopped");
    assert_eq!(host.stored_len(), 0, "nothing is left of it");
    assert!(failure.headers.entries().is_empty(), "{failure:?}");
    failure
}

#[track_caller]
fn assert_is(failure: &Failure, code: Code, reason: &str) {
    assert_eq!(failure.status.code(), code, "{failure}");
    let info: ErrorInfo = failure.status.detail().expect("the host says why");
    assert_eq!((&*info.reason, &*info.domain), (reason, "mortise"));
}

fn still_serves(host: &mut Host) {
    let request = pb::EchoRequest {
        payload: b"again".to_vec(),
    };
    let echo = host.call(Request::new(), |call| Faults::echo(call, request));
    assert_eq!(echo.expect("in a fresh sandbox").message.payload, b"again");
}

#[test]
fn traps_and_exits_are_failures_of_the_plugin() {
    if !in_component() {
        return;
    }
    let mut host = Host::new();
    let trapped = stopped(&mut host, |call| Faults::trap(call, pb::TrapRequest {}));
    assert_is(&trapped, Code::Unknown, "PLUGIN_FAILED");
    let exited = stopped(&mut host, |call| Faults::exit(call, pb::ExitRequest { code: 0 }));
    assert_is(&exited, Code::Unknown, "PLUGIN_FAILED");
    let too_deep = stopped(&mut host, |call| Faults::recurse(call, pb::RecurseRequest {}));
    assert_is(&too_deep, Code::Unknown, "PLUGIN_FAILED");
    still_serves(&mut host);
}

#[test]
fn a_panic_is_in_the_operators_log() {
    if !in_component() {
        return;
    }
    let mut host = Host::new();
    let request = pb::PanicRequest {
        message: "out of tea".to_owned(),
    };
    let panicked = stopped(&mut host, |call| Faults::panic(call, request));
    assert_is(&panicked, Code::Unknown, "PLUGIN_FAILED");
    let line = host.logs().last().expect("a line");
    assert_eq!(
        (line.level, &*line.message),
        (LogLevel::Error, "panicked: out of tea")
    );
    let twice = pb::MisbehaveRequest {
        way: Way::PanicTwice.into(),
    };
    let panicked = stopped(&mut host, |call| Faults::misbehave(call, twice));
    assert_is(&panicked, Code::Unknown, "PLUGIN_FAILED");
    still_serves(&mut host);
}

#[test]
fn memory_and_answers_are_bounded() {
    if !in_component() {
        return;
    }
    let mut host = Host::new();
    let request = pb::EatMemoryRequest { abort: true };
    let eaten = stopped(&mut host, |call| Faults::eat_memory(call, request));
    assert_is(&eaten, Code::ResourceExhausted, "PLUGIN_OUT_OF_MEMORY");
    let request = pb::HugeAnswerRequest { bytes: 11 << 20 };
    let huge = stopped(&mut host, |call| Faults::huge_answer(call, request));
    assert_is(&huge, Code::ResourceExhausted, "ANSWER_TOO_LARGE");
    still_serves(&mut host);
}

#[test]
fn what_never_ends_is_interrupted() {
    if !in_component() {
        return;
    }
    let mut host = Host::new();
    let late = stopped(&mut host, |call| Faults::r#loop(call, pb::LoopRequest {}));
    assert_is(&late, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    let sleep = pb::SleepRequest {
        milliseconds: 3_600_000,
    };
    let late = stopped(&mut host, |call| Faults::sleep(call, sleep));
    assert_is(&late, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    still_serves(&mut host);
}
