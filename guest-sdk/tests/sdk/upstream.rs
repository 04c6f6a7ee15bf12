use std::time::Duration;

use mortise_guest::details::{ErrorInfo, RetryInfo};
use mortise_guest::prost::Message;
use mortise_guest::testing::{Host, Request, UpstreamRequest};
use mortise_guest::upstream::{Failure, Origin, Reply};
use mortise_guest::{Call, Code, Status};

use crate::pb::{Greeting, Name};
use crate::{fail, ok};

const GREET: &str = "/test.v1.Greeter/Greet";

fn greet(call: &Call, name: &str) -> Result<Reply<Greeting>, Failure> {
    call.upstream("greeter").unary(GREET, &Name { name: name.into() })
}

fn polite() -> Host {
    Host::new().upstream("greeter", GREET, |request: Name| {
        if request.name.is_empty() {
            return Err(Status::invalid_argument("nobody"));
        }
        let text = format!("Good day, {}", request.name);
        Ok(Greeting { text })
    })
}

fn failing(status: impl Fn() -> Status + 'static) -> Host {
    Host::new().upstream("greeter", GREET, move |_: Name| Err::<Greeting, _>(status()))
}

#[test]
fn a_function_plays_the_target() {
    let mut host = polite();
    let reply = ok(&mut host, |call| Ok(greet(call, "Ada")?));
    assert_eq!(reply.message.text, "Good day, Ada");
    let [request] = host.upstream_requests() else {
        panic!("one request, not {:?}", host.upstream_requests())
    };
    assert_eq!(
        (request.target.as_str(), request.method.as_str()),
        ("greeter", GREET)
    );
    let name: Name = request.decode().expect("a name");
    assert_eq!(name.name, "Ada");
    assert_eq!(request.timeout, None);
}

#[test]
fn metadata_goes_both_ways() {
    let answer = |request: &UpstreamRequest| {
        assert_eq!(request.metadata.get("user-id"), Some("u1"));
        assert_eq!(request.metadata.get_bin("raw-bin"), Some(&[0, 255][..]));
        Ok(Reply {
            message: Greeting::default().encode_to_vec(),
            headers: [("mood", "good")].into_iter().collect(),
            trailers: [("took-ms", "3")].into_iter().collect(),
        })
    };
    let mut host = Host::new().upstream_with("greeter", GREET, answer);
    let reply = ok(&mut host, |call| {
        let greeter = call
            .upstream("greeter")
            .metadata("User-Id", "u1")
            .metadata_bin("raw-bin", [0, 255]);
        Ok(greeter.unary::<Greeting>(GREET, &Name::default())?)
    });
    assert_eq!(reply.headers.get("Mood"), Some("good"));
    assert_eq!(reply.trailers.get("took-ms"), Some("3"));
    let failure = ok(&mut host, |call| {
        let greeter = call.upstream("greeter").metadata("grpc-timeout", "1S");
        Ok(greeter.unary_bytes(GREET, b"").expect_err("reserved"))
    });
    assert_eq!(
        (failure.code(), failure.origin()),
        (Code::InvalidArgument, Origin::Host)
    );
}

#[test]
fn what_the_target_finds_wrong_is_no_business_of_the_client() {
    let mut host = polite();
    let status = fail(&mut host, |call| Ok(greet(call, "")?));
    assert_eq!(
        (status.code(), status.message()),
        (Code::Internal, "Handler failed")
    );
    assert_eq!(
        status.cause(),
        Some("upstream greeter /test.v1.Greeter/Greet: INVALID_ARGUMENT: nobody")
    );
    let status = fail(&mut host, |call| greet(call, "").map_err(Failure::into_status));
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "nobody")
    );
}

#[test]
fn failures_that_may_pass_keep_their_code_and_when_to_try_again() {
    let retry = RetryInfo::after(Duration::from_secs(3));
    let kept = [
        Code::Unavailable,
        Code::DeadlineExceeded,
        Code::Cancelled,
        Code::ResourceExhausted,
        Code::Aborted,
    ];
    for code in kept {
        let status = move || {
            Status::new(code, "secret")
                .with_detail(RetryInfo::after(Duration::from_secs(3)))
                .with_detail(ErrorInfo::default())
        };
        let status = fail(&mut failing(status), |call| Ok(greet(call, "Ada")?));
        assert_eq!(status.code(), code);
        assert!(!status.message().contains("secret"), "{status}");
        assert_eq!(status.detail(), Some(retry.clone()), "{code}");
        assert_eq!(status.detail::<ErrorInfo>(), None);
    }
    for code in [
        Code::Unauthenticated,
        Code::NotFound,
        Code::Unknown,
        Code::DataLoss,
    ] {
        let status = fail(&mut failing(move || Status::new(code, "")), |call| {
            Ok(greet(call, "Ada")?)
        });
        assert_eq!(status.code(), Code::Internal, "{code}");
    }
}

#[test]
fn what_is_not_played_is_not_there() {
    let mut host = polite();
    let failure = ok(&mut host, |call| {
        Ok(call
            .upstream("stock")
            .unary_bytes(GREET, b"")
            .expect_err("not granted"))
    });
    assert_eq!(
        (failure.code(), failure.origin()),
        (Code::PermissionDenied, Origin::Host)
    );
    let info: ErrorInfo = failure.status().detail().expect("the host's reason");
    assert_eq!(info.reason, "UPSTREAM_NOT_ALLOWED");
    let failure = ok(&mut host, |call| {
        let greeter = call.upstream("greeter");
        Ok(greeter
            .unary_bytes("/test.v1.Greeter/Part", b"")
            .expect_err("not served"))
    });
    assert_eq!(
        (failure.code(), failure.origin()),
        (Code::Unimplemented, Origin::Target)
    );
}

#[test]
fn answers_that_do_not_parse_are_failures() {
    let garbage = |_: &UpstreamRequest| {
        Ok(Reply {
            message: vec![0xff],
            ..Reply::default()
        })
    };
    let mut host = Host::new().upstream_with("greeter", GREET, garbage);
    let failure = ok(&mut host, |call| Ok(greet(call, "Ada").expect_err("garbage")));
    assert_eq!((failure.code(), failure.origin()), (Code::Internal, Origin::Host));
}

#[test]
fn targets_take_time() {
    let host = Host::new();
    let clock = host.clock();
    let mut host = host.upstream("greeter", GREET, move |_: Name| {
        clock.advance(Duration::from_secs(2));
        Ok(Greeting::default())
    });
    let failure = ok(&mut host, |call| {
        let greeter = call.upstream("greeter").timeout(Duration::from_secs(1));
        Ok(greeter.unary_bytes(GREET, b"").expect_err("late"))
    });
    assert_eq!(
        (failure.code(), failure.origin()),
        (Code::DeadlineExceeded, Origin::Host)
    );
    let late = host.call(Request::new().timeout(Duration::from_secs(1)), |call| {
        Ok(greet(call, "Ada")?)
    });
    assert_eq!(late.expect_err("late").status.code(), Code::DeadlineExceeded);
    let timeouts: Vec<_> = host
        .upstream_requests()
        .iter()
        .map(|request| request.timeout)
        .collect();
    assert_eq!(timeouts, [Some(Duration::from_secs(1)); 2]);
}
