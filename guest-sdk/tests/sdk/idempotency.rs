use std::time::Duration;

use mortise_guest::prost::Message;
use mortise_guest::testing::{Failure, Host, Request, Response};
use mortise_guest::{Call, Code, Plugin, ReadCall, Status};

use crate::pb::{Greeter, Greeting, Name};

/// Counts whom it greets.
struct Counting;

#[mortise_guest::plugin]
impl Greeter for Counting {
    fn greet(call: &mut Call, request: Name) -> Result<Greeting, Status> {
        let visits = call.table::<u64>("visits");
        let count = visits.get(&request.name)?.unwrap_or(0) + 1;
        visits.put(&request.name, &count)?;
        call.trailers().insert("count", count.to_string())?;
        if request.name == "nobody" {
            return Err(Status::not_found("Never met"));
        }
        Ok(Greeting {
            text: format!("{} ({count})", request.name),
        })
    }

    fn recall(_: &mut ReadCall, request: Name) -> Result<Greeting, Status> {
        Ok(Greeting { text: request.name })
    }
}

fn call(host: &mut Host, request: Request, method: &str, name: &str) -> Result<Response<Vec<u8>>, Failure> {
    let name = Name { name: name.into() };
    host.unary::<Counting>(
        request,
        &format!("/test.v1.Greeter/{method}"),
        &name.encode_to_vec(),
    )
}

fn keyed(key: &str) -> Request {
    Request::new().metadata("idempotency-key", key)
}

fn greeted(host: &mut Host, request: Request, name: &str) -> String {
    let answer = call(host, request, "Greet", name).expect("greeted");
    Greeting::decode(answer.message.as_slice())
        .expect("a greeting")
        .text
}

#[test]
fn a_repeated_call_gets_the_recorded_answer() {
    assert_eq!(Counting::SERVICES.len(), 1);
    let mut host = Host::new();
    let first = call(&mut host, keyed("k"), "Greet", "ann").expect("greeted");
    let again = call(&mut host, keyed("\"k\""), "Greet", "ann").expect("greeted");
    assert_eq!(again, first, "with its metadata");
    assert_eq!(greeted(&mut host, keyed("other"), "ann"), "ann (2)");
    assert_eq!(
        greeted(&mut host, keyed("k").principal("shop:bob"), "ann"),
        "ann (3)"
    );
    assert_eq!(greeted(&mut host, keyed("k"), "ann"), "ann (1)");
    host.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(greeted(&mut host, keyed("k"), "ann"), "ann (4)", "it has expired");
}

#[test]
fn a_key_belongs_to_one_request_and_a_failed_call_leaves_it_free() {
    let mut host = Host::new();
    call(&mut host, keyed("k"), "Greet", "nobody").expect_err("as told");
    call(&mut host, keyed("k"), "Greet", "ann").expect("the key is free");
    let reused = call(&mut host, keyed("k"), "Greet", "bob").expect_err("another request");
    assert_eq!(reused.status.code(), Code::FailedPrecondition);
    for bad in ["", "a b", "\"a", &"x".repeat(256)] {
        let refused = call(&mut host, keyed(bad), "Greet", "ann").expect_err("no key");
        assert_eq!(refused.status.code(), Code::InvalidArgument, "{bad}");
    }
    // A method without side effects ignores it.
    for name in ["ann", "bob"] {
        call(&mut host, keyed("a b"), "Recall", name).expect("answered");
    }
}
