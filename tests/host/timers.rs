//! Timers: calls that the host makes later, through the same sandbox and transaction as any.

use std::fs;

use tonic::Code;

use crate::admin::{mortise, mortise_with, stderr, stdout};
use crate::in_both_modes;
use crate::orders::order;
use crate::support::live::patched;
use crate::support::pb::faults::*;
use crate::support::pb::order::{GetOrderRequest, OrderStatus, PayOrderRequest};
use crate::support::{Host, Isolation, LiveFile, PATIENCE, Plugin, Setup, components, until_some};

in_both_modes!(
    a_timer_calls_an_internal_method_that_clients_do_not_find,
    a_timer_exists_if_its_call_committed_and_until_it_is_cancelled,
    bounds_are_told_to_the_plugin,
    an_order_that_is_not_paid_is_cancelled,
);

const HOUR_MILLISECONDS: u32 = 3_600_000;

fn remember(key: &str) -> RememberRequest {
    RememberRequest {
        key: key.into(),
        ..RememberRequest::default()
    }
}

pub(crate) async fn schedule(host: &Host, request: ScheduleRequest) -> ScheduleResponse {
    let answer = host.faults().schedule(request).await;
    answer.expect("scheduled").into_inner()
}

async fn schedule_one(host: &Host, key: &str, delay_milliseconds: u32) -> String {
    let request = ScheduleRequest {
        count: 1,
        delay_milliseconds,
        request: Some(remember(key)),
        ..ScheduleRequest::default()
    };
    schedule(host, request).await.ids.remove(0)
}

pub(crate) async fn read(host: &Host, key: &str) -> Option<Vec<u8>> {
    let answer = host.faults().read(ReadRequest { key: key.into() }).await;
    answer.expect("read").into_inner().value
}

/// What `Remember` has counted under `key`.
pub(crate) async fn remembered(host: &Host, key: &str) -> u64 {
    let value = read(host, key).await;
    value.map_or(0, |value| {
        u64::from_be_bytes(value.try_into().expect("a counter"))
    })
}

pub(crate) async fn until_remembered(host: &Host, key: &str, count: u64) {
    until_some("the call", async || {
        (remembered(host, key).await >= count).then_some(())
    })
    .await;
}

async fn pending(host: &Host) -> f64 {
    let labels = [("plugin", "faults")];
    let pending = host.metrics().await.value("mortise_timers_pending", &labels);
    pending.expect("it is shown")
}

async fn a_timer_calls_an_internal_method_that_clients_do_not_find(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    schedule_one(&host, "k", 1).await;
    until_remembered(&host, "k", 1).await;
    assert_eq!(
        read(&host, "k/caller").await.expect("noted"),
        b"mortise:timer \"\""
    );
    assert_eq!(read(&host, "k/event").await, None);
    let answer = host
        .raw()
        .await
        .unary("/faults.v1.Faults/Remember", &[], &remember("client"))
        .await;
    assert_eq!(
        (answer.code(), &*answer.reason()),
        (Code::Unimplemented, "UNKNOWN_METHOD")
    );
    assert_eq!(read(&host, "client").await, None);
    host.stop().await;
}

async fn a_timer_exists_if_its_call_committed_and_until_it_is_cancelled(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let two = |fail: bool, cancel: bool| ScheduleRequest {
        count: 2,
        request: Some(remember("never")),
        fail,
        cancel,
        ..ScheduleRequest::default()
    };
    host.faults()
        .schedule(two(true, false))
        .await
        .expect_err("as told");
    assert_eq!(schedule(&host, two(false, true)).await.ids.len(), 2);
    let id = schedule_one(&host, "never", HOUR_MILLISECONDS).await;
    assert_eq!(pending(&host).await, 1.0);
    let cancel = async || {
        let request = CancelTimerRequest { id: id.clone() };
        let answer = host.faults().cancel_timer(request).await;
        answer.expect("answered").into_inner().cancelled
    };
    assert!(cancel().await);
    assert!(!cancel().await, "it is gone");
    // What comes after it has been called: there is nothing before it.
    schedule_one(&host, "k", 1).await;
    until_remembered(&host, "k", 1).await;
    assert_eq!((pending(&host).await, read(&host, "never").await), (0.0, None));
    host.stop().await;
}

async fn bounds_are_told_to_the_plugin(isolation: Isolation) {
    let bounds = "[timers]\nmax_per_call = 3\nmax_request_bytes = 1024\nmax_pending = 4";
    let host = Setup::of(Plugin::faults(isolation)).with(bounds).start().await;
    let many = |count: u32, padding: usize, method: &str| ScheduleRequest {
        count,
        delay_milliseconds: HOUR_MILLISECONDS,
        request: Some(RememberRequest {
            padding: vec![1; padding],
            ..remember("k")
        }),
        method: method.into(),
        ..ScheduleRequest::default()
    };
    for (request, said, limit) in [
        (many(9, 0, ""), "schedules too many timers", 3),
        (many(1, 1100, ""), "request of 1106 bytes is too long", 1024),
        (
            many(1, 0, "/faults.v1.Faults/Nothing"),
            "has no method /faults.v1.Faults/Nothing",
            0,
        ),
        (many(3, 0, ""), "too many timers pending", 4),
    ] {
        let response = schedule(&host, request).await;
        assert!(response.refusal.contains(said), "{}", response.refusal);
        assert_eq!(response.limit, limit, "{}", response.refusal);
    }
    assert_eq!(pending(&host).await, 4.0);
    host.stop().await;
}

async fn an_order_that_is_not_paid_is_cancelled(isolation: Isolation) {
    let plugin = Plugin::order(isolation).config("pay_within_s", 1);
    let host = Setup::of(plugin).start().await;
    for id in ["paid", "forgotten"] {
        host.orders().create_order(order(id)).await.expect("placed");
    }
    let pay = PayOrderRequest {
        id: "paid".into(),
        version: None,
    };
    host.orders().pay_order(pay).await.expect("in time");
    let status = async |id: &str| {
        let request = GetOrderRequest { id: id.into() };
        let order = host.orders().get_order(request).await;
        order.expect("there").into_inner().status()
    };
    until_some("the end of patience", async || {
        (status("forgotten").await == OrderStatus::Cancelled).then_some(())
    })
    .await;
    assert_eq!(status("paid").await, OrderStatus::Paid);
    let labels = [("plugin", "order")];
    let metrics = host.metrics().await;
    assert_eq!(metrics.value("mortise_timers_pending", &labels), Some(0.0));
    assert_eq!(metrics.value("mortise_timers_fired_total", &labels), Some(1.0));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_outlive_a_crash_and_each_calls_once() {
    let data = tempfile::tempdir().expect("a folder");
    let setup = || Setup::of(Plugin::faults(Isolation::Call)).data(data.path());
    let host = setup().start().await;
    let request = ScheduleRequest {
        count: 50,
        delay_milliseconds: 1,
        request: Some(remember("k")),
        ..ScheduleRequest::default()
    };
    schedule(&host, request.clone()).await;
    schedule(&host, request).await;
    // In the middle of them.
    host.kill().await;
    let host = setup().start().await;
    until_some("all of them", async || {
        (pending(&host).await == 0.0).then_some(())
    })
    .await;
    until_remembered(&host, "k", 100).await;
    assert_eq!(remembered(&host, "k").await, 100);
    host.stop().await;
}

/// The plugin is replaced by a version without the method, and by one that has it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_is_gone_makes_dead_letters_which_the_operator_has_tried_again() {
    let component = fs::read(&components().faults).expect("it was built");
    let live = LiveFile::copy_of(&components().faults);
    let data = tempfile::tempdir().expect("a folder");
    let setup = |max_attempts: u32| {
        let plugin = Plugin::faults(Isolation::Call).file(&live.path);
        let timers = format!("[timers]\nmax_attempts = {max_attempts}");
        Setup::of(plugin).with(&timers).data(data.path())
    };
    let host = setup(1000).start().await;
    for key in ["retried", "dropped"] {
        let request = ScheduleRequest {
            count: 1,
            request: Some(RememberRequest {
                after: "open".into(),
                ..remember(key)
            }),
            ..ScheduleRequest::default()
        };
        schedule(&host, request).await;
    }
    let later = schedule_one(&host, "later", HOUR_MILLISECONDS).await;
    until_some("both have failed", async || {
        let failures = host.metrics().await.sum("mortise_timer_failures_total", &[]);
        (failures >= 2.0).then_some(())
    })
    .await;
    host.stop().await;
    // Their next failure is one too many.
    live.rename_over(&patched(&component, "Remember", "Remembra"));
    let host = setup(1).start().await;
    host.until_metric("both given up", "mortise_dead_letters_added_total", 2.0)
        .await;

    let listed = stdout(mortise(&host, &["events", "list"]));
    assert!(
        listed.contains("plugin faults has no method /faults.v1.Faults/Remember"),
        "{listed}"
    );
    let json = stdout(mortise(&host, &["events", "list", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let letters = json["dead_letters"].as_array().expect("a list");
    let ids: Vec<_> = letters
        .iter()
        .map(|letter| letter["id"].as_str().expect("an id"))
        .collect();
    assert_eq!((ids.len(), letters[0]["call"]["event"].is_null()), (2, true));

    live.rename_over(&component);
    stdout(mortise(&host, &["reload", "faults"]));
    let open = WriteThenRequest {
        key: "open".into(),
        value: b"yes".into(),
        ending: write_then_request::Ending::Ok.into(),
    };
    host.faults().write_then(open).await.expect("kept");
    assert_eq!(
        stdout(mortise(&host, &["events", "retry", ids[0]])),
        "1 tried again\n"
    );
    until_some("the retry", async || {
        let calls = remembered(&host, "retried").await + remembered(&host, "dropped").await;
        (calls == 1).then_some(())
    })
    .await;
    let gone = stderr(mortise(&host, &["events", "drop", ids[0]]));
    assert!(gone.contains("no dead letter has the id"), "{gone}");
    assert_eq!(
        stdout(mortise(&host, &["events", "drop", "--all"])),
        "1 dropped\n"
    );

    let listed = stdout(mortise(&host, &["timers", "list", "faults"]));
    assert!(listed.contains(&later) && listed.lines().count() == 2, "{listed}");
    assert_eq!(
        stdout(mortise(&host, &["timers", "cancel", "faults", &later])),
        "cancelled\n"
    );
    stderr(mortise(&host, &["timers", "cancel", "faults", &later]));
    let unknown = stderr(mortise(&host, &["timers", "list", "nobody"]));
    assert!(unknown.contains("there is no plugin"), "{unknown}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_and_timers_are_seen_to_while_no_host_runs() {
    let data = tempfile::tempdir().expect("a folder");
    let setup = || {
        let plugin = Plugin::faults(Isolation::Call);
        Setup::of(plugin)
            .with("[timers]\nmax_attempts = 1")
            .data(data.path())
    };
    let host = setup().start().await;
    for key in ["retried", "dropped"] {
        let request = ScheduleRequest {
            count: 1,
            request: Some(RememberRequest {
                after: "open".into(),
                ..remember(key)
            }),
            ..ScheduleRequest::default()
        };
        schedule(&host, request).await;
        let dead = if key == "retried" { 1.0 } else { 2.0 };
        host.until_metric("it is given up", "mortise_dead_letters", dead)
            .await;
    }
    let open = WriteThenRequest {
        key: "open".into(),
        value: b"yes".into(),
        ending: write_then_request::Ending::Ok.into(),
    };
    host.faults().write_then(open).await.expect("kept");
    let later = schedule_one(&host, "later", HOUR_MILLISECONDS).await;
    host.stop().await;

    let mortise = |args: &[&str]| mortise_with(data.path(), args);
    let json = stdout(mortise(&["events", "list", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let letters = json["dead_letters"].as_array().expect("a list");
    let ids: Vec<_> = letters
        .iter()
        .map(|letter| letter["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(stdout(mortise(&["events", "retry", ids[0]])), "1 tried again\n");
    assert_eq!(stdout(mortise(&["events", "drop", "--all"])), "1 dropped\n");
    let listed = stdout(mortise(&["timers", "list", "faults"]));
    assert!(listed.contains(&later) && listed.lines().count() == 3, "{listed}");
    assert_eq!(
        stdout(mortise(&["timers", "cancel", "faults", &later])),
        "cancelled\n"
    );
    stderr(mortise(&["timers", "cancel", "faults", &later]));

    let host = setup().start().await;
    until_remembered(&host, "retried", 1).await;
    assert_eq!(
        (pending(&host).await, remembered(&host, "dropped").await),
        (0.0, 0)
    );
    host.stop().await;
}

/// Timers come from no listener, but wait for their turn as any call does, and leave clients theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_timers_leaves_clients_their_turn() {
    let host = Setup::of(Plugin::faults(Isolation::Call)).start().await;
    let flood = ScheduleRequest {
        count: 100,
        request: Some(remember("k")),
        ..ScheduleRequest::default()
    };
    for _ in 0..5 {
        schedule(&host, flood.clone()).await;
        let mut client = host.faults();
        let answered = tokio::time::timeout(PATIENCE / 2, client.echo(EchoRequest::default()));
        answered.await.expect("in time").expect("answered");
    }
    until_remembered(&host, "k", 500).await;
    assert_eq!((remembered(&host, "k").await, pending(&host).await), (500, 0.0));
    host.stop().await;
}
