//! The greeter against a fake host: `cargo test` needs neither WebAssembly nor a running host.

use minimal::Greeter;
use minimal::pb::{self, Greeter as _};

use mortise_guest::details::BadRequest;
use mortise_guest::testing::{Failure, Host, Request};
use mortise_guest::{Code, Status};

fn say_hello(host: &mut Host, name: &str) -> Result<String, Failure> {
    let request = pb::HelloRequest {
        name: name.to_owned(),
    };
    let answer = host.call(Request::new(), |call| Greeter::say_hello(call, request))?;
    Ok(answer.message.message)
}

fn count_hellos(host: &mut Host, name: &str) -> u64 {
    let request = pb::CountRequest {
        name: name.to_owned(),
    };
    let answer = host.call(Request::new(), |call| Greeter::count_hellos(call, request));
    answer.expect("counting needs nothing").message.count
}

#[test]
fn greets_and_counts() {
    let mut host = Host::new();
    assert_eq!(count_hellos(&mut host, "Ada"), 0);
    assert_eq!(say_hello(&mut host, "Ada").as_deref(), Ok("Hello, Ada!"));
    assert_eq!(say_hello(&mut host, " Ada ").as_deref(), Ok("Hello, Ada!"));
    assert_eq!(say_hello(&mut host, "Grace").as_deref(), Ok("Hello, Grace!"));
    assert_eq!(count_hellos(&mut host, "Ada"), 2);
    assert_eq!(count_hellos(&mut host, "Grace"), 1);
}

#[test]
fn refuses_an_empty_name() {
    let mut host = Host::new();
    let status: Status = say_hello(&mut host, "  ").expect_err("nobody to greet").status;
    assert_eq!(status.code(), Code::InvalidArgument);
    let details: BadRequest = status.detail().expect("the violation");
    assert_eq!(details.field_violations[0].field, "name");
    assert_eq!(host.stored_len(), 0);
}
