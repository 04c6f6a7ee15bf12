use std::time::Duration;

use mortise_guest::Code;
use mortise_guest::testing::{Host, Request};

use crate::ok;

#[test]
fn a_call_without_a_deadline_never_expires() {
    ok(&mut Host::new(), |call| {
        assert_eq!(call.deadline(), None);
        assert_eq!(call.remaining(), None);
        Ok(())
    });
}

#[test]
fn the_deadline_is_one_moment() {
    let mut host = Host::new();
    let clock = host.clock();
    let answer = host.call(Request::new().timeout(Duration::from_millis(700)), |call| {
        assert_eq!(call.deadline(), Some(clock.now() + Duration::from_millis(700)));
        clock.advance(Duration::from_millis(500));
        assert_eq!(call.deadline(), Some(clock.now() + Duration::from_millis(200)));
        assert_eq!(call.remaining(), Some(Duration::from_millis(200)));
        Ok(())
    });
    answer.expect("still in time");
}

#[test]
fn a_call_that_expires_fails_and_changes_nothing() {
    let mut host = Host::new();
    let clock = host.clock();
    let answer = host.call(Request::new().timeout(Duration::from_millis(10)), |call| {
        call.trailers().insert("done", "yes")?;
        call.table::<u64>("numbers").put("one", &1)?;
        call.publish("counted", "one", &1u64)?;
        clock.advance(Duration::from_millis(11));
        assert_eq!(call.remaining(), Some(Duration::ZERO));
        Ok(())
    });
    let failure = answer.expect_err("too late");
    assert_eq!(failure.status.code(), Code::DeadlineExceeded);
    assert_eq!(failure.trailers.get("done"), None);
    assert_eq!(host.stored_len(), 0);
    assert!(host.events().is_empty());
}

#[test]
fn a_timeout_of_centuries_saturates() {
    let mut host = Host::new();
    let answer = host.call(Request::new().timeout(Duration::MAX), |call| Ok(call.remaining()));
    assert!(answer.expect("in time").message > Some(Duration::from_secs(1 << 33)));
}
