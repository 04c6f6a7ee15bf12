//! What the plugin asks of others, natively and in the component.

use caller::Caller;
use caller::pb::{self, Caller as _};
use mortise_guest::prost::Message;
use mortise_guest::testing::{Host, Request};
use mortise_guest::{Code, Status};

const ASK: &str = "/caller.v1.Backend/Ask";

fn host() -> Host {
    Host::new().upstream("backend", ASK, |request: pb::AskRequest| match &*request.text {
        "nothing" => Err(Status::not_found("Nothing there")),
        text => Ok(pb::AskResponse {
            text: format!("{text}!"),
        }),
    })
}

fn ask(host: &mut Host, text: &str) -> Result<String, Status> {
    let request = pb::AskBackendRequest {
        text: text.to_owned(),
    };
    let answer = host.call(Request::new(), |call| Caller::pass_on(call, request));
    answer
        .map(|response| response.message.text)
        .map_err(|failure| failure.status)
}

#[test]
fn the_backend_answers() {
    let mut host = host();
    assert_eq!(ask(&mut host, "tea").expect("answered"), "tea!");
    let refused = ask(&mut host, "nothing").expect_err("refused");
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::NotFound, "Nothing there")
    );
    let asked = &host.upstream_requests()[0];
    assert_eq!((&*asked.target, &*asked.method), ("backend", ASK));
    assert_eq!(asked.decode::<pb::AskRequest>().expect("a question").text, "tea");
}

#[test]
fn what_is_sent_along_arrives() {
    let mut host = host();
    let outgoing = |target: &str| pb::Outgoing {
        target: target.to_owned(),
        method: ASK.to_owned(),
        message: pb::AskRequest {
            text: "tea".to_owned(),
        }
        .encode_to_vec(),
        metadata: vec![pb::Entry {
            key: "raw-bin".to_owned(),
            value: b"\0\xff".to_vec(),
        }],
        timeout_milliseconds: Some(250),
    };
    let request = pb::ForwardRequest {
        requests: vec![outgoing("backend"), outgoing("unknown")],
    };
    let forwarded = host.call(Request::new(), |call| Caller::forward(call, request));
    let outcomes = forwarded.expect("it tells").message.outcomes;
    assert_eq!((outcomes[0].code, outcomes[0].from_target), (0, true));
    assert_eq!(
        (&*outcomes[1].reason, outcomes[1].from_target),
        ("UPSTREAM_NOT_ALLOWED", false)
    );
    let asked = &host.upstream_requests()[0];
    assert_eq!(asked.metadata.get_bin("raw-bin"), Some(&b"\0\xff"[..]));
    assert_eq!(asked.timeout.expect("its own").as_millis(), 250);
}

#[test]
fn a_second_attempt_asks_nobody_twice() {
    let mut host = host();
    let request = |ask_the_value| pb::CountRequest {
        key: "tea".to_owned(),
        ask_the_value,
    };
    let rival = |host: &mut Host, _| {
        let counted = host.call(Request::new(), |call| Caller::count(call, request(false)));
        counted.expect("it comes first");
    };
    let counted = host.contended(Request::new(), 1, rival, |call| {
        Caller::count(call, request(false))
    });
    let counted = counted.expect("it comes second").message;
    assert_eq!((counted.value, counted.attempt, &*counted.text), (2, 2, "tea!"));
    assert_eq!(host.upstream_requests().len(), 2, "one for each call");
    let diverged = host.contended(Request::new(), 1, rival, |call| {
        Caller::count(call, request(true))
    });
    assert_eq!(
        diverged.expect_err("another question").status.code(),
        Code::Aborted
    );
}
