//! `mortise call`.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::echo::{Offers, start};
use crate::{Outcome, mortise, mortise_in, temporary_folder};

fn call(offers: Offers, args: &[&str]) -> Outcome {
    let address = start(offers).to_string();
    mortise(["call", "--addr", &address].iter().chain(args))
}

#[test]
fn an_answer_is_json_on_standard_output() {
    let outcome = call(
        Offers::V1,
        &[
            "echo.v1.EchoService/Echo",
            "-d",
            "{\"text\": \"hi\", \"number\": 5}",
        ],
    );
    let outcome = outcome.exits(0);
    assert_eq!(outcome.stdout, "{\n  \"text\": \"hi\",\n  \"number\": \"5\"\n}\n");
    assert_eq!(outcome.stderr, "");
}

#[test]
fn an_answer_cannot_steer_the_terminal() {
    let outcome = call(
        Offers::V1,
        &[
            "echo.v1.EchoService/Echo",
            "-d",
            "{\"text\": \"\\u009b2J\\u202e\\u001b[1m é\"}",
        ],
    );
    assert_eq!(
        outcome.exits(0).stdout,
        "{\n  \"text\": \"\\u009b2J\\u202e\\u001b[1m é\"\n}\n"
    );
}

#[test]
fn verbose_shows_metadata_and_status() {
    let outcome = call(Offers::V1, &["/echo.v1.EchoService/Echo", "--verbose"]).exits(0);
    assert_eq!(outcome.stdout, "{}\n");
    assert_eq!(
        outcome.stderr,
        "initial metadata:\n  server-version: 1.0\n\
         trailing metadata:\n  processing-time-ms: 3\nstatus: OK\n"
    );
}

#[test]
fn the_older_reflection_serves_as_well() {
    call(Offers::V1Alpha, &["echo.v1.EchoService/Echo"]).exits(0);
}

#[test]
fn without_reflection_the_reason_is_given() {
    let outcome = call(Offers::Nothing, &["echo.v1.EchoService/Echo"]).exits(1);
    assert!(
        outcome.stderr.contains("error: the server offers no reflection"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("hint: "), "{}", outcome.stderr);
}

#[test]
fn headers_reach_the_server_in_order() {
    let outcome = call(
        Offers::V1,
        &[
            "echo.v1.EchoService/Echo",
            "-H",
            "x-tag: a",
            "-H",
            "X-Tag: b",
            "-H",
            "token-bin: AQID",
        ],
    );
    assert_eq!(
        outcome.exits(0).stdout,
        "{\n  \"text\": \" x-tag=a x-tag=b token-bin=AQID\"\n}\n"
    );
}

#[test]
fn the_request_may_come_from_a_file_or_standard_input() {
    let address = start(Offers::V1).to_string();
    let folder = temporary_folder();
    std::fs::write(folder.path().join("note.json"), "{\"text\": \"file\"}").expect("it can be written");
    let args = ["call", "--addr", &address, "echo.v1.EchoService/Echo", "-d"];
    let outcome = mortise_in(folder.path(), args.into_iter().chain(["@note.json"])).exits(0);
    assert!(outcome.stdout.contains("\"file\""), "{outcome:?}");
    let outcome = mortise_in(folder.path(), args.into_iter().chain(["@absent.json"])).exits(1);
    assert!(
        outcome
            .stderr
            .contains("cannot read the request from absent.json"),
        "{outcome:?}"
    );

    let mut child = Command::new(env!("CARGO_BIN_EXE_mortise"))
        .args(args.into_iter().chain(["-"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin
        .write_all(b"{\"text\": \"piped\"}")
        .expect("the request is taken");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("\"piped\""),
        "{output:?}"
    );
}

#[test]
fn a_failure_shows_status_and_details_and_gives_its_exit_code() {
    let outcome = call(Offers::V1, &["echo.v1.EchoService/Fail"]).exits(64 + 3);
    assert_eq!(outcome.stdout, "");
    assert_eq!(
        outcome.stderr,
        "initial metadata:\n  server-version: 1.0\n\
         status: INVALID_ARGUMENT (3)\n\
         message: Invalid\\tnote\n\
         detail: google.rpc.BadRequest {\n  \"fieldViolations\": [\n    {\n      \"field\": \"text\",\n      \
         \"description\": \"is empty\"\n    }\n  ]\n}\n\
         detail: echo.v1.Note {\n  \"text\": \"a note\",\n  \"number\": \"7\"\n}\n\
         detail: other.v1.Unknown base64 CgE/\n"
    );
}

#[test]
fn a_deadline_that_passes_is_deadline_exceeded() {
    let outcome = call(Offers::V1, &["echo.v1.EchoService/Hang", "--timeout", "50ms"]).exits(64 + 4);
    assert!(
        outcome.stderr.contains("status: DEADLINE_EXCEEDED (4)"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn an_unknown_method_or_service_brings_a_suggestion() {
    let outcome = call(Offers::V1, &["echo.v1.EchoService/Ehco"]).exits(1);
    assert_eq!(
        outcome.stderr,
        "error: echo.v1.EchoService has no method Ehco\nhint: did you mean Echo?\n"
    );
    let outcome = call(Offers::V1, &["echo.EchoService/Echo"]).exits(1);
    assert_eq!(
        outcome.stderr,
        "error: the server has no service echo.EchoService\nhint: did you mean echo.v1.EchoService?\n"
    );
}

#[test]
fn a_streaming_method_is_refused() {
    let outcome = call(Offers::V1, &["echo.v1.EchoService/Watch"]).exits(1);
    assert!(
        outcome.stderr.contains("is a streaming method"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_request_of_another_shape_is_a_usage_error_that_names_the_fields() {
    for data in ["{\"txt\": 1}", "{\"text\": 1}", "{", "{} {}"] {
        let outcome = call(Offers::V1, &["echo.v1.EchoService/Echo", "-d", data]).exits(2);
        assert!(
            outcome
                .stderr
                .starts_with("error: the request does not fit echo.v1.Note: "),
            "{outcome:?}"
        );
        assert!(
            outcome
                .stderr
                .contains("hint: echo.v1.Note has text, number, extra\n"),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_server_that_is_not_there_is_a_runtime_error() {
    // Bound and not listening: nothing else can take the port, and connections are refused.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = socket.local_addr().expect("it is bound").to_string();
    let outcome = mortise(["call", "a.B/C", "--addr", &address]).exits(1);
    assert!(
        outcome
            .stderr
            .starts_with(&format!("error: cannot connect to {address}\n")),
        "{outcome:?}"
    );
    assert!(
        outcome
            .stderr
            .contains("hint: is the server running there, without TLS?"),
        "{outcome:?}"
    );
}
