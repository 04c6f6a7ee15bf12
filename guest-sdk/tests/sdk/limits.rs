use std::time::Duration;

use mortise_guest::details::RetryInfo;
use mortise_guest::testing::Host;
use mortise_guest::{Code, Decision, Rate, Status};

use crate::{fail, ok};

fn take(host: &mut Host, tokens: u32, rate: Rate) -> Decision {
    ok(host, |call| call.take("bucket", tokens, rate))
}

fn refused(retry_after_ms: u64) -> Decision {
    Decision::Refused {
        retry_after: Duration::from_millis(retry_after_ms),
    }
}

#[test]
fn a_burst_then_the_rate() {
    let mut host = Host::new();
    let rate = Rate::new(3, 1, Duration::from_secs(2));
    for _ in 0..3 {
        assert_eq!(take(&mut host, 1, rate), Decision::Allowed);
    }
    assert_eq!(take(&mut host, 1, rate), refused(2000));
    host.advance(Duration::from_millis(1500));
    assert_eq!(take(&mut host, 1, rate), refused(500));
    assert_eq!(take(&mut host, 2, rate), refused(2500));
    host.advance(Duration::from_millis(500));
    assert_eq!(take(&mut host, 1, rate), Decision::Allowed);
    host.advance(Duration::from_secs(3600));
    assert_eq!(take(&mut host, 3, rate), Decision::Allowed);
    assert_eq!(take(&mut host, 1, rate), refused(2000));
}

#[test]
fn a_new_rate_keeps_the_tokens_that_are_there() {
    let mut host = Host::new();
    assert_eq!(take(&mut host, 8, Rate::per_second(10)), Decision::Allowed);
    let slower = Rate::new(10, 1, Duration::from_secs(60));
    assert_eq!(take(&mut host, 2, slower), Decision::Allowed);
    assert_eq!(take(&mut host, 1, slower), refused(60_000));
}

#[test]
fn what_is_taken_stays_taken_when_the_call_fails() {
    let mut host = Host::new();
    fail(&mut host, |call| -> Result<(), Status> {
        call.limit("bucket", Rate::per_second(1))?;
        Err(Status::aborted(""))
    });
    assert_eq!(take(&mut host, 1, Rate::per_second(1)), refused(1000));
}

#[test]
fn a_refusal_says_when_to_come_back() {
    let mut host = Host::new();
    let rate = Rate::new(1, 1, Duration::from_millis(2500));
    ok(&mut host, |call| call.limit("client:10.0.0.1", rate));
    ok(&mut host, |call| call.limit("client:10.0.0.2", rate));
    let status = fail(&mut host, |call| call.limit("client:10.0.0.1", rate));
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "Rate limit exceeded; retry after 3s");
    assert_eq!(
        status.detail(),
        Some(RetryInfo::after(Duration::from_millis(2500)))
    );
}

#[test]
fn rates_that_make_no_sense_are_the_plugins_mistake() {
    let mut host = Host::new();
    let second = Duration::from_secs(1);
    for (tokens, rate) in [
        (1, Rate::new(0, 1, second)),
        (1, Rate::new(1, 0, second)),
        (1, Rate::new(1, 1, Duration::ZERO)),
        (1, Rate::new(1, 1, Duration::MAX)),
        (0, Rate::per_second(1)),
    ] {
        let status = fail(&mut host, |call| call.take("bucket", tokens, rate));
        assert_eq!(status.code(), Code::Internal, "{rate:?}");
    }
    let status = fail(&mut host, |call| call.take("bucket", 2, Rate::per_second(1)));
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[test]
fn rates_are_read_from_text() {
    let rate = |text: &str| text.parse::<Rate>().ok();
    assert_eq!(rate("10/1s"), Some(Rate::per_second(10)));
    assert_eq!(rate("10/s"), Some(Rate::per_second(10)));
    assert_eq!(
        rate(" 100 / 1m "),
        Some(Rate::new(100, 100, Duration::from_secs(60)))
    );
    assert_eq!(rate("5/500ms"), Some(Rate::new(5, 5, Duration::from_millis(500))));
    assert_eq!(rate("1/24h"), Some(Rate::new(1, 1, Duration::from_secs(86_400))));
    for text in [
        "",
        "10",
        "10/",
        "/s",
        "0/s",
        "10/0s",
        "10/1d",
        "-1/s",
        "10/1 s",
        "10/99999999999999999999s",
        "10/5124095576030431h",
    ] {
        assert_eq!(rate(text), None, "{text}");
    }
    for text in ["10/1s", "100/1m", "5/500ms", "1/24h", "7/90s"] {
        assert_eq!(text.parse::<Rate>().expect("a rate").to_string(), text);
    }
}
