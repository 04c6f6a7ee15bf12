use std::cell::Cell;
use std::time::Duration;

use mortise_guest::details::{ErrorInfo, RetryInfo};
use mortise_guest::testing::{Host, Request};
use mortise_guest::{Call, Code, Decision, Rate, Status};

use crate::ok;
use crate::pb::{Greeting, Name};

fn increment(call: &mut Call) -> Result<u64, Status> {
    let counts = call.table::<u64>("counts");
    let count = counts.get("all")?.unwrap_or(0) + 1;
    counts.put("all", &count)?;
    call.publish("counted", "all", &count)?;
    call.headers().insert("attempt", call.attempt().to_string())?;
    Ok(count)
}

#[test]
fn an_attempt_that_loses_leaves_nothing_and_the_next_sees_what_the_rival_did() {
    let mut host = Host::new();
    let mut seen = Vec::new();
    let rival = |host: &mut Host, attempt| {
        assert_eq!(host.stored::<u64>("counts", "all"), (attempt > 1).then_some(10));
        ok(host, |call| call.table("counts").put("all", &10u64));
    };
    let answer = host.contended(Request::new().id("it"), 2, rival, |call| {
        seen.push((call.id(), call.attempt()));
        increment(call)
    });
    let answer = answer.expect("the third attempt commits");
    assert_eq!(answer.message, 11);
    let attempts: Vec<_> = answer
        .headers
        .entries()
        .iter()
        .map(|entry| &entry.value)
        .collect();
    assert_eq!(attempts, [b"3"], "each begins with no metadata");
    assert_eq!(seen, [1, 2, 3].map(|attempt| ("it".to_owned(), attempt)));
    assert_eq!(host.events().len(), 1);
}

#[test]
fn who_always_loses_is_aborted_with_nothing_kept() {
    let mut host = Host::new();
    let attempts = Cell::new(0);
    let failure = host.contended(
        Request::new(),
        u32::MAX,
        |_, _| attempts.set(attempts.get() + 1),
        increment,
    );
    let failure = failure.expect_err("five attempts");
    assert_eq!((failure.status.code(), attempts.get()), (Code::Aborted, 5));
    let info: ErrorInfo = failure.status.detail().expect("the reason");
    assert_eq!(info.reason, "CONFLICT");
    assert!(failure.status.detail::<RetryInfo>().is_some());
    assert_eq!((host.stored_len(), host.events().len()), (0, 0));
}

#[test]
fn a_handler_that_fails_is_not_run_again() {
    let mut host = Host::new();
    let mut runs = 0;
    let failure = host.contended(
        Request::new(),
        3,
        |_, _| panic!("nothing to lose"),
        |_| {
            runs += 1;
            Err::<(), _>(Status::not_found("no"))
        },
    );
    assert_eq!(failure.expect_err("as told").status.code(), Code::NotFound);
    assert_eq!(runs, 1);
}

#[test]
fn the_deadline_is_that_of_the_call() {
    let mut host = Host::new();
    let request = Request::new().timeout(Duration::from_secs(10));
    let mut left = Vec::new();
    let failure = host.contended(
        request,
        4,
        |host, _| host.advance(Duration::from_secs(4)),
        |call| {
            left.push(call.remaining().map(|left| left.as_secs()));
            Ok(())
        },
    );
    assert_eq!(
        failure.expect_err("it expires").status.code(),
        Code::DeadlineExceeded
    );
    assert_eq!(left, [Some(10), Some(6), Some(2), Some(0)]);
}

#[test]
fn rate_limits_are_asked_once_and_the_rivals_asks_for_itself() {
    let mut host = Host::new();
    let rate = Rate::new(2, 1, Duration::from_secs(3_600));
    let take = move |call: &mut Call| call.take("bucket", 1, rate);
    let rival = |host: &mut Host, _| assert_eq!(ok(host, take), Decision::Allowed);
    let answer = host.contended(Request::new(), 1, rival, take).expect("allowed");
    assert_eq!(answer.message, Decision::Allowed);
    assert!(
        matches!(ok(&mut host, take), Decision::Refused { .. }),
        "two were taken"
    );
}

const GREET: &str = "/test.v1.Greeter/Greet";

fn greeter() -> Host {
    Host::new().upstream("greeter", GREET, |request: Name| {
        Ok(Greeting {
            text: format!("Good day, {}", request.name),
        })
    })
}

fn greet(call: &Call, name: String) -> Result<String, Status> {
    let reply = call
        .upstream("greeter")
        .unary::<Greeting>(GREET, &Name { name })?;
    Ok(reply.message.text)
}

#[test]
fn upstreams_are_called_once() {
    let mut host = greeter();
    let answer = host.contended(Request::new(), 3, |_, _| {}, |call| greet(call, "Ada".into()));
    assert_eq!(answer.expect("answered").message, "Good day, Ada");
    assert_eq!(host.upstream_requests().len(), 1);
}

#[test]
fn an_attempt_that_calls_another_upstream_ends_the_call() {
    let mut host = greeter();
    let handler = |call: &mut Call| {
        let name = format!("number {}", call.attempt());
        // What it makes of the failure does not matter.
        Ok(greet(call, name).unwrap_or_default())
    };
    let failure = host.contended(Request::new(), 1, |_, _| {}, handler);
    let failure = failure.expect_err("it diverged");
    assert_eq!(failure.status.code(), Code::Aborted);
    let info: ErrorInfo = failure.status.detail().expect("the reason");
    assert_eq!(info.reason, "UPSTREAM_DIVERGED");
}
