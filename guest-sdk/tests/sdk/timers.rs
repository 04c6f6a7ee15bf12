use std::time::Duration;

use mortise_guest::prost::Message;
use mortise_guest::testing::{Host, Request};
use mortise_guest::{Call, Code, Method, Plugin, Status};

use crate::pb::{Greeter, Greeting, Name};
use crate::{fail, ok};

/// As the code generator makes it.
const GREET: Method<Name> = Method::new("/test.v1.Greeter/Greet");
const SECOND: Duration = Duration::from_secs(1);

struct Shy;

/// Counts who called, and does not greet Eve.
#[mortise_guest::plugin]
impl Greeter for Shy {
    fn greet(call: &mut Call, request: Name) -> Result<Greeting, Status> {
        let calls = call.table::<u64>("calls");
        let caller = call.principal().map(|principal| principal.id).unwrap_or_default();
        calls.put(&caller, &(calls.get(&caller)?.unwrap_or(0) + 1))?;
        match &*request.name {
            "Eve" => Err(Status::permission_denied("not her")),
            "again" => {
                call.publish("greeted", "again", &request)?;
                call.schedule(call.now() + SECOND, GREET, &request)?;
                Ok(Greeting::default())
            }
            _ => Ok(Greeting { text: request.name }),
        }
    }
}

fn name(name: &str) -> Name {
    Name { name: name.into() }
}

fn calls_by(host: &Host, caller: &str) -> Option<u64> {
    host.stored("calls", caller)
}

#[test]
fn a_timer_is_fired_when_its_time_has_come() {
    let mut host = Host::new();
    let id = ok(&mut host, |call| {
        call.schedule(call.now() + 2 * SECOND, GREET, &name("Ann"))
    });
    let [timer] = host.timers().try_into().expect("one");
    assert_eq!(
        (timer.id.as_str(), timer.method.as_str()),
        (id.as_str(), GREET.path())
    );
    assert_eq!(timer.decode().ok(), Some(name("Ann")));
    host.advance(SECOND);
    assert!(host.fire_timers::<Shy>().is_empty());
    host.advance(SECOND);
    let fired = host.fire_timers::<Shy>();
    let answer = fired[0].result.as_ref().expect("greeted");
    assert_eq!(
        Greeting::decode(&*answer.message).expect("a greeting").text,
        "Ann"
    );
    assert_eq!(calls_by(&host, "mortise:timer"), Some(1));
    assert!(host.timers().is_empty() && host.fire_timers::<Shy>().is_empty());
    assert_eq!(Shy::NAME, env!("CARGO_PKG_NAME"));
}

#[test]
fn a_timer_of_a_call_that_fails_does_not_exist() {
    let mut host = Host::new();
    fail(&mut host, |call| -> Result<(), Status> {
        call.schedule(call.now(), GREET, &name("Ann"))?;
        Err(Status::aborted("no"))
    });
    assert!(host.timers().is_empty());
}

#[test]
fn a_timer_is_cancelled_in_the_same_call_or_in_another() {
    let mut host = Host::new();
    let (kept, own) = ok(&mut host, |call| {
        let kept = call.schedule(call.now(), GREET, &name("Ann"))?;
        let own = call.schedule(call.now(), GREET, &name("Bob"))?;
        assert!(call.cancel_timer(&own)?);
        assert!(!call.cancel_timer(&own)?);
        Ok((kept, own))
    });
    assert_ne!(kept, own);
    assert_eq!(host.timers().len(), 1);
    assert!(ok(&mut host, |call| call.cancel_timer(&kept)));
    assert!(!ok(&mut host, |call| call.cancel_timer(kept.as_str())));
    assert!(host.fire_timers::<Shy>().is_empty());
}

#[test]
fn a_call_that_fails_is_made_again_later_and_given_up_at_last() {
    let mut host = Host::new();
    ok(&mut host, |call| call.schedule(call.now(), GREET, &name("Eve")));
    let mut attempts = 0;
    while !host.timers().is_empty() {
        for fired in host.fire_timers::<Shy>() {
            let failure = fired.result.expect_err("refused");
            assert_eq!(failure.status.code(), Code::PermissionDenied);
            assert_eq!(fired.timer.failures, attempts);
            attempts += 1;
        }
        host.advance(Duration::from_millis(100));
    }
    assert_eq!((attempts, host.dead_timers().len()), (10, 1));
    assert_eq!(
        calls_by(&host, "mortise:timer"),
        None,
        "a call that fails leaves nothing"
    );
}

#[test]
fn bounds_are_those_of_the_host() {
    let mut host = Host::new();
    let status = fail(&mut host, |call| -> Result<(), Status> {
        for _ in 0..101 {
            call.schedule(call.now(), GREET, &name("Ann"))?;
        }
        Ok(())
    });
    assert_eq!(status.code(), Code::ResourceExhausted);
    let long = name(&"x".repeat(65_536));
    let status = fail(&mut host, |call| call.schedule(call.now(), GREET, &long));
    assert_eq!(status.code(), Code::ResourceExhausted);
    let read_only = host.call(Request::new().read_only(), |call| {
        call.schedule(call.now(), GREET, &name("Ann"))
    });
    assert_eq!(
        read_only.expect_err("it may only read").status.code(),
        Code::Internal
    );
}

#[test]
fn an_event_is_delivered_with_its_attributes() {
    let mut host = Host::new();
    ok(&mut host, |call| {
        call.publish("greeted", "ä \"key\"", &name("Ann"))
    });
    let event = host.events()[0].clone();
    let seen = std::cell::RefCell::new(None);
    let mut consumer = Host::new();
    consumer
        .deliver::<Shy, _>("greeter", &event, GREET)
        .expect("greeted");
    assert_eq!(calls_by(&consumer, "mortise:event/greeter"), Some(1));
    // What a handler reads of it.
    let request = Request::new()
        .principal("mortise:event/greeter")
        .metadata("ce-id", "greeter-1-0")
        .metadata("ce-type", "greeted")
        .metadata("ce-subject", "%C3%A4%20%22key%22")
        .metadata("ce-time", "2026-01-01T00:00:00.5Z")
        .metadata("ce-hops", "3");
    let read = |call: &mut Call| {
        *seen.borrow_mut() = call.event();
        Ok(call.is_by_timer())
    };
    assert!(!consumer.call(request.clone(), read).expect("read").message);
    let seen = seen.take().expect("an event");
    assert_eq!(
        [&*seen.id, &seen.source, &seen.topic, &seen.key],
        ["greeter-1-0", "greeter", "greeted", "ä \"key\""]
    );
    let time = mortise_guest::testing::Clock::default().now() + SECOND / 2;
    assert_eq!((seen.time, seen.hops), (time, 3));
    // A client can send the metadata, and is not taken for the host.
    let forged = consumer.call(request.principal("ann"), |call| Ok(call.event()));
    assert_eq!(forged.expect("read").message, None);
}

#[test]
fn eight_deliveries_lead_from_one_to_the_next() {
    let mut host = Host::new();
    ok(&mut host, |call| call.publish("greeted", "again", &name("again")));
    for hops in 0..8 {
        let event = host.events().last().expect("published").clone();
        assert_eq!(event.hops, hops);
        host.deliver::<Shy, _>("greeter", &event, GREET).expect("greeted");
    }
    let event = host.events().last().expect("published").clone();
    let refused = host.deliver::<Shy, _>("greeter", &event, GREET);
    assert_eq!(
        refused.expect_err("the ninth").status.code(),
        Code::FailedPrecondition
    );
    // What a timer publishes that was set on the way counts on.
    host.advance(SECOND);
    let fired = host.fire_timers::<Shy>();
    assert!(fired.len() == 8 && fired.iter().all(|fired| fired.result.is_ok()));
    assert_eq!(host.events().last().expect("published").hops, 8);
}
