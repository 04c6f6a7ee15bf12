//! The plugin against the SDK's fake host.

use mortise_guest::prost::Message;
use mortise_guest::testing::{Event, Host, Request};
use mortise_guest::{Code, Plugin};
use tally::pb::tally::v1::Tally;
use tally::{GetTallyRequest, Order, Tallies, TallyMethod};

fn event(topic: &str, customer: &str) -> Event {
    let order = Order {
        customer_id: customer.into(),
        ..Order::default()
    };
    Event {
        id: format!("order-1-{topic}"),
        time: std::time::UNIX_EPOCH,
        topic: topic.into(),
        key: "A-1".into(),
        payload: order.encode_to_vec(),
        hops: 0,
    }
}

#[test]
fn events_are_counted_by_customer_and_topic() {
    let mut host = Host::new();
    for (topic, customer) in [
        ("order.created", "ann"),
        ("order.created", "ann"),
        ("order.paid", "ann"),
        ("order.created", "bob"),
    ] {
        let delivered = host.deliver::<Tallies, _>("order", &event(topic, customer), TallyMethod::ON_ORDER);
        delivered.expect("counted");
    }
    let request = GetTallyRequest {
        customer_id: "ann".into(),
    };
    let tally = host
        .call(Request::new().read_only(), |call| {
            Tallies::get_tally(call, request)
        })
        .expect("read");
    let topics = tally.message.topics.iter();
    let topics: Vec<_> = topics.map(|tally| (&*tally.topic, tally.events)).collect();
    assert_eq!(topics, [("order.created", 2), ("order.paid", 1)]);
}

#[test]
fn clients_cannot_count() {
    let path = TallyMethod::ON_ORDER.path();
    let refused = Host::new().unary::<Tallies>(Request::new(), path, &Order::default().encode_to_vec());
    assert_eq!(refused.expect_err("internal").status.code(), Code::Unimplemented);
    assert_eq!(Tallies::NAME, "tally");
}
