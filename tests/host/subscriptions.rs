//! Events of one plugin that drive a method of another.

use prost::Message;

use crate::admin::{mortise, stdout};
use crate::in_both_modes;
use crate::orders::order;
use crate::support::pb::faults::write_then_request::Ending;
use crate::support::pb::faults::*;
use crate::support::pb::order::{CancelOrderRequest, PayOrderRequest};
use crate::support::pb::tally::v1::GetTallyRequest;
use crate::support::{Host, Isolation, Plugin, Setup, until_some};
use crate::timers::{read, remembered, until_remembered};

in_both_modes!(
    orders_are_counted_by_another_plugin,
    the_consumer_learns_all_about_the_event,
    a_loop_between_plugins_ends,
);

const TALLY: &str = "[subscriptions.orders]\ntopics = [\"order.*\"]\nplugin = \"tally\"\n\
                     method = \"tally.v1.Tally/OnOrder\"";

/// Of `faults.remember` and its like, back to the plugin itself.
fn remember(max_attempts: u32) -> String {
    format!(
        "[subscriptions.remember]\ntopics = [\"faults.again\"]\nplugin = \"faults\"\n\
         method = \"faults.v1.Faults/Remember\"\nmax_attempts = {max_attempts}"
    )
}

async fn publish(host: &Host, key: &str, request: RememberRequest) {
    let event = PublishRequest {
        topic: "faults.again".into(),
        key: key.into(),
        payload: request.encode_to_vec(),
    };
    host.faults().publish(event).await.expect("published");
}

/// The counts by topic, as text.
async fn tally(host: &Host) -> String {
    let request = GetTallyRequest {
        customer_id: "customer-1".into(),
    };
    let answer = host.tally().get_tally(request).await.expect("answered");
    let topics = answer.into_inner().topics.into_iter();
    let topics: Vec<_> = topics
        .map(|tally| format!("{} {}", tally.topic, tally.events))
        .collect();
    topics.join(", ")
}

async fn until_tally(host: &Host, expected: &str) {
    until_some("the tally", async || {
        (tally(host).await == expected).then_some(())
    })
    .await;
}

async fn orders_are_counted_by_another_plugin(isolation: Isolation) {
    let data = tempfile::tempdir().expect("a folder");
    let setup = || {
        let orders = Plugin::order(isolation).config("pay_within_s", 3600);
        let plugins = Setup::of(orders).and(Plugin::tally(isolation));
        plugins.with(TALLY).data(data.path())
    };
    let host = setup().start().await;
    for id in ["a", "b", "c"] {
        host.orders().create_order(order(id)).await.expect("placed");
    }
    let pay = PayOrderRequest {
        id: "a".into(),
        version: None,
    };
    host.orders().pay_order(pay).await.expect("paid");
    // Whatever was delivered by now, the rest comes after the restart.
    host.kill().await;
    let host = setup().start().await;
    let cancel = CancelOrderRequest {
        id: "b".into(),
        version: None,
    };
    host.orders().cancel_order(cancel).await.expect("cancelled");
    until_tally(&host, "order.cancelled 1, order.created 3, order.paid 1").await;
    let metrics = host.metrics().await;
    let sink = [("sink", "subscription/orders")];
    assert_eq!(metrics.value("mortise_event_lag_seconds", &sink), Some(0.0));
    assert_eq!(metrics.value("mortise_dead_letters", &[]), Some(0.0));
    host.stop().await;
}

async fn the_consumer_learns_all_about_the_event(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation))
        .with(&remember(3))
        .start()
        .await;
    let request = RememberRequest {
        key: "k".into(),
        ..RememberRequest::default()
    };
    publish(&host, "a \"key\"\nof 100%", request).await;
    until_remembered(&host, "k", 1).await;
    assert_eq!(
        read(&host, "k/caller").await.expect("noted"),
        b"mortise:event/faults \"\""
    );
    let event = read(&host, "k/event").await.expect("noted");
    let event = String::from_utf8(event).expect("text");
    let (id, rest) = event.split_once(' ').expect("an id");
    assert_eq!(rest, "faults faults.again a \"key\"\nof 100% 1");
    assert!(id.starts_with("faults-"), "{id}");
    host.stop().await;
}

async fn a_loop_between_plugins_ends(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation))
        .with(&remember(3))
        .start()
        .await;
    let again = RememberRequest {
        key: "rounds".into(),
        publish: "faults.again".into(),
        ..RememberRequest::default()
    };
    publish(&host, "k", again).await;
    host.until_metric("the end", "mortise_dead_letters_added_total", 1.0)
        .await;
    assert_eq!(remembered(&host, "rounds").await, 8);
    let listed = stdout(mortise(&host, &["events", "list"]));
    assert!(listed.contains("8 deliveries from plugin to plugin"), "{listed}");
    host.stop().await;
}

/// An event that its consumer cannot take yet is tried again; one that it never takes is kept for the
/// operator, and holds nobody else back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_deliveries_are_repeated_then_kept() {
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(&remember(2))
        .start()
        .await;
    let unless = |key: &str, after: &str| RememberRequest {
        key: key.into(),
        after: after.into(),
        ..RememberRequest::default()
    };
    publish(&host, "bad", unless("bad", "open")).await;
    publish(&host, "good", unless("good", "")).await;
    until_remembered(&host, "good", 1).await;
    host.until_metric("it is given up", "mortise_dead_letters_added_total", 1.0)
        .await;
    let json = stdout(mortise(&host, &["events", "list", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let call = &json["dead_letters"][0]["call"];
    assert_eq!(call["event"]["key"], "bad");
    assert_eq!(call["event"]["subscription"], "remember");
    assert_eq!(call["last_error"], "FAILED_PRECONDITION: not yet, as told");
    assert_eq!(remembered(&host, "bad").await, 0);

    let open = WriteThenRequest {
        key: "open".into(),
        value: b"yes".into(),
        ending: Ending::Ok.into(),
    };
    host.faults().write_then(open).await.expect("kept");
    assert_eq!(
        stdout(mortise(&host, &["events", "retry", "--all"])),
        "1 tried again\n"
    );
    until_remembered(&host, "bad", 1).await;
    let labels = [("subscription", "remember")];
    let metrics = host.metrics().await;
    assert_eq!(
        metrics.value("mortise_subscription_failures_total", &labels),
        Some(2.0)
    );
    assert_eq!(
        metrics.value("mortise_subscription_deliveries_total", &labels),
        Some(1.0)
    );
    host.stop().await;
}
