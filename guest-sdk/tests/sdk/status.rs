use std::error::Error;
use std::fmt;

use mortise_guest::testing::{Host, LogLevel};
use mortise_guest::{Code, Status};

use crate::fail;

#[test]
fn codes_have_the_numbers_and_names_of_the_protocol() {
    let table = [
        (Status::cancelled(""), 1, "CANCELLED"),
        (Status::unknown(""), 2, "UNKNOWN"),
        (Status::invalid_argument(""), 3, "INVALID_ARGUMENT"),
        (Status::deadline_exceeded(""), 4, "DEADLINE_EXCEEDED"),
        (Status::not_found(""), 5, "NOT_FOUND"),
        (Status::already_exists(""), 6, "ALREADY_EXISTS"),
        (Status::permission_denied(""), 7, "PERMISSION_DENIED"),
        (Status::resource_exhausted(""), 8, "RESOURCE_EXHAUSTED"),
        (Status::failed_precondition(""), 9, "FAILED_PRECONDITION"),
        (Status::aborted(""), 10, "ABORTED"),
        (Status::out_of_range(""), 11, "OUT_OF_RANGE"),
        (Status::unimplemented(""), 12, "UNIMPLEMENTED"),
        (Status::internal(""), 13, "INTERNAL"),
        (Status::unavailable(""), 14, "UNAVAILABLE"),
        (Status::data_loss(""), 15, "DATA_LOSS"),
        (Status::unauthenticated(""), 16, "UNAUTHENTICATED"),
    ];
    for (status, number, name) in table {
        assert_eq!((status.code().number(), status.code().name()), (number, name));
    }
}

#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the quantity is unreadable")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn broken() -> Result<(), Outer> {
    "x".parse::<u8>().map(drop).map_err(Outer)
}

#[test]
fn other_errors_are_unknown_to_the_client_and_told_to_the_operator() {
    let mut host = Host::new();
    let status = fail(&mut host, |_| -> Result<(), Status> { Ok(broken()?) });
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unknown, "Handler failed")
    );

    let [line] = host.logs() else {
        panic!("one line: {:?}", host.logs())
    };
    assert_eq!(
        (line.level, line.message.as_str()),
        (LogLevel::Error, "Handler failed")
    );
    let cause = "the quantity is unreadable: invalid digit found in string";
    assert_eq!(line.field("cause"), Some(cause));
    assert_eq!(line.field("code"), Some("UNKNOWN"));
}

#[test]
fn a_cause_can_go_with_any_status() {
    let mut host = Host::new();
    let status = fail(&mut host, |_| -> Result<(), Status> {
        broken().map_err(|error| Status::unavailable("Try again").with_cause(error))
    });
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "Try again")
    );
    assert_eq!(host.logs()[0].field("code"), Some("UNAVAILABLE"));
}

#[test]
fn boxed_errors_convert() {
    let boxed: Box<dyn Error + Send + Sync> = "no such thing".into();
    let status = Status::from_error(boxed);
    assert_eq!(
        (status.message(), status.cause()),
        ("Handler failed", Some("no such thing"))
    );
}

#[test]
fn a_status_without_a_cause_is_not_logged() {
    let mut host = Host::new();
    fail(&mut host, |_| -> Result<(), Status> {
        Err(Status::not_found("gone"))
    });
    assert!(host.logs().is_empty());
}

#[test]
fn causes_are_bounded() {
    let status = Status::from_error("ä".repeat(10_000));
    let cause = status.cause().expect("the cause");
    assert!(
        cause.len() <= 4096 && cause.ends_with('…'),
        "{} bytes",
        cause.len()
    );
}

#[derive(Debug)]
struct Endless;

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("again and ")
    }
}

impl Error for Endless {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&Endless)
    }
}

#[test]
fn an_endless_chain_of_sources_ends() {
    assert!(
        Status::from(Endless)
            .cause()
            .is_some_and(|cause| cause.len() <= 4096)
    );
}
