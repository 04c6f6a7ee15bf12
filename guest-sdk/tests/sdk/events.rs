use mortise_guest::testing::Host;
use mortise_guest::{Code, Status};

use crate::pb::Greeting;
use crate::{fail, ok};

#[test]
fn events_are_committed_in_order() {
    let mut host = Host::new();
    ok(&mut host, |call| {
        call.publish(
            "greeted",
            "ann",
            &Greeting {
                text: "hi".to_owned(),
            },
        )?;
        call.publish_bytes("counted", "ann", b"\x01")
    });
    let [first, second] = host.events() else {
        panic!("two events: {:?}", host.events())
    };
    assert_eq!((first.topic.as_str(), first.key.as_str()), ("greeted", "ann"));
    assert_eq!(first.decode::<Greeting>().expect("a greeting").text, "hi");
    assert_eq!(
        (second.topic.as_str(), second.payload.as_slice()),
        ("counted", &[1][..])
    );
}

#[test]
fn a_failed_call_publishes_nothing() {
    let mut host = Host::new();
    fail(&mut host, |call| -> Result<(), Status> {
        call.publish_bytes("greeted", "ann", b"")?;
        Err(Status::aborted(""))
    });
    assert!(host.events().is_empty());
}

#[test]
fn topics_are_plain_names() {
    let mut host = Host::new();
    for topic in ["", "with space", "ä", &"x".repeat(257)] {
        let status = fail(&mut host, |call| call.publish_bytes(topic, "k", b""));
        assert_eq!(status.code(), Code::Internal, "{topic}");
        assert!(status.message().contains("topic"), "{status}");
    }
    ok(&mut host, |call| {
        call.publish_bytes("order.created-v1_x", "any key äöü", b"")
    });
}
