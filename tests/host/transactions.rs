//! A call that answers OK keeps all that it wrote and published; any other keeps nothing.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tokio::task::JoinSet;
use tonic::Code;

use crate::in_both_modes;
use crate::orders::order;
use crate::support::pb::faults::write_then_request::Ending;
use crate::support::pb::faults::*;
use crate::support::pb::order::GetOrderRequest;
use crate::support::{Host, Isolation, Plugin, Setup, reason, until_some, within_patience};

in_both_modes!(
    only_calls_that_answer_ok_leave_anything,
    one_of_many_rivals_wins,
    counters_do_not_lose_increments,
    callers_of_one_key_are_all_served,
    conflicts_end_at_the_bound,
    methods_without_side_effects_cannot_write,
    a_restart_keeps_orders_and_events,
    a_crash_keeps_what_was_answered,
    rate_limits_outlive_failed_calls,
    a_conflict_runs_the_handler_again,
);

/// The lines of the events file.
fn events(data: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(data.join("events.jsonl")).unwrap_or_default();
    // The last line may still be on its way.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

fn keys(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["key"].as_str().expect("a key"))
        .collect()
}

async fn until_events(data: &Path, count: usize) -> Vec<Value> {
    until_some("the events", async || {
        let events = events(data);
        (events.len() >= count).then_some(events)
    })
    .await
}

async fn write_then(host: &Host, key: &str, ending: Ending) -> Result<(), tonic::Status> {
    let mut request = tonic::Request::new(WriteThenRequest {
        key: key.into(),
        value: key.into(),
        ending: ending.into(),
    });
    if ending == Ending::Loop {
        request
            .metadata_mut()
            .insert("grpc-timeout", "300m".parse().expect("a value"));
    }
    host.faults().write_then(request).await.map(drop)
}

async fn read(host: &Host, key: &str) -> Option<Vec<u8>> {
    host.faults()
        .read(ReadRequest { key: key.into() })
        .await
        .expect("read")
        .into_inner()
        .value
}

async fn only_calls_that_answer_ok_leave_anything(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let refused = [
        ("fail", Ending::Fail),
        ("panic", Ending::Panic),
        ("loop", Ending::Loop),
        ("huge", Ending::HugeAnswer),
        ("unspecified", Ending::Unspecified),
    ];
    for (key, ending) in refused {
        write_then(&host, key, Ending::Ok).await.expect("kept");
        let lost = format!("{key} lost");
        write_then(&host, &lost, ending).await.expect_err("as told");
        write_then(&host, key, ending).await.expect_err("as told");
        assert_eq!(read(&host, &lost).await, None);
        assert_eq!(read(&host, key).await, Some(key.into()));
    }
    let data = host.data.clone();
    let seen = until_events(&data, refused.len()).await;
    assert_eq!(
        keys(&seen),
        refused.map(|(key, _)| key),
        "each once, in the order of their commits"
    );
    let ids: BTreeSet<_> = seen.iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), seen.len());
    assert!(
        seen.iter()
            .all(|event| event["plugin"] == "faults" && event["topic"] == "faults.written")
    );
    host.stop().await;
}

async fn one_of_many_rivals_wins(isolation: Isolation) {
    const RIVALS: usize = 16;
    const ROUNDS: usize = 5;
    let host = Setup::of(Plugin::order(isolation)).start().await;
    for round in 0..ROUNDS {
        let id = format!("contested-{round}");
        let rivals: Vec<_> = (0..RIVALS)
            .map(|_| {
                let (mut orders, order) = (host.orders(), order(&id));
                tokio::spawn(async move { orders.create_order(order).await.map(drop).map_err(|s| s.code()) })
            })
            .collect();
        let mut won = 0;
        for rival in rivals {
            match rival.await.expect("no panic") {
                Ok(()) => won += 1,
                Err(code) => assert_eq!(code, Code::AlreadyExists),
            }
        }
        assert_eq!(won, 1, "{id}");
    }
    let seen = until_events(&host.data, ROUNDS).await;
    assert_eq!(
        keys(&seen),
        (0..ROUNDS)
            .map(|round| format!("contested-{round}"))
            .collect::<Vec<_>>()
    );
    host.stop().await;
}

async fn counters_do_not_lose_increments(isolation: Isolation) {
    const CALLS: u64 = 40;
    let generous = "[store]\nmax_attempts = 100";
    let host = Setup::of(Plugin::faults(isolation)).with(generous).start().await;
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let mut faults = host.faults();
            let request = IncrementRequest {
                key: "counter".into(),
                wait_milliseconds: 1,
            };
            tokio::spawn(async move { faults.increment(request).await })
        })
        .collect();
    let mut values = BTreeSet::new();
    for call in calls {
        match call.await.expect("no panic") {
            Ok(answer) => assert!(values.insert(answer.get_ref().value), "a value was given twice"),
            Err(status) => assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::Aborted, "CONFLICT")
            ),
        }
    }
    let committed = values.len() as u64;
    assert_eq!(values, (1..=committed).collect());
    assert_eq!(
        read(&host, "counter").await,
        Some(committed.to_be_bytes().to_vec())
    );
    host.stop().await;
}

/// They lose to each other once, and are then served one by one.
async fn callers_of_one_key_are_all_served(isolation: Isolation) {
    const CALLERS: u64 = 16;
    const CALLS: u64 = 4;
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let callers: JoinSet<_> = (0..CALLERS)
        .map(|_| {
            let mut faults = host.faults();
            async move {
                for call in 0..CALLS {
                    let request = IncrementRequest {
                        key: "counter".into(),
                        wait_milliseconds: 1,
                    };
                    let answer = faults.increment(request).await;
                    answer.unwrap_or_else(|status| panic!("call {call}: {status:?}"));
                }
            }
        })
        .collect();
    within_patience("all calls", callers.join_all()).await;
    assert_eq!(
        read(&host, "counter").await,
        Some((CALLERS * CALLS).to_be_bytes().to_vec())
    );
    host.stop().await;
}

async fn a_conflict_runs_the_handler_again(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    // How many rounds it takes until two rivals meet is for the scheduler to decide.
    let mut committed = 0u64;
    until_some("a second attempt", async || {
        let request = || IncrementRequest {
            key: "counter".into(),
            wait_milliseconds: 50,
        };
        let (mut one, mut other) = (host.faults(), host.faults());
        let (one, other) = tokio::join!(one.increment(request()), other.increment(request()));
        let attempts = [one, other].map(|answer| answer.expect("two rivals soon agree").get_ref().attempt);
        committed += 2;
        attempts.contains(&2).then_some(())
    })
    .await;
    assert_eq!(
        read(&host, "counter").await,
        Some(committed.to_be_bytes().to_vec())
    );
    host.stop().await;
}

/// With one attempt, whoever meets a conflict is told so, and nothing is lost by it.
async fn conflicts_end_at_the_bound(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation))
        .with("[store]\nmax_attempts = 1")
        .start()
        .await;
    let mut committed = 0u64;
    // Rivals that overlap conflict; how many rounds it takes until two do is for the scheduler to decide.
    let conflict = until_some("a conflict", async || {
        let request = || IncrementRequest {
            key: "counter".into(),
            wait_milliseconds: 50,
        };
        let (mut one, mut other) = (host.faults(), host.faults());
        let (one, other) = tokio::join!(one.increment(request()), other.increment(request()));
        committed += u64::from(one.is_ok()) + u64::from(other.is_ok());
        one.err().or(other.err())
    })
    .await;
    assert_eq!(
        (conflict.code(), reason(&conflict).as_str()),
        (Code::Aborted, "CONFLICT")
    );
    assert_eq!(
        read(&host, "counter").await,
        Some(committed.to_be_bytes().to_vec())
    );
    host.stop().await;
}

async fn methods_without_side_effects_cannot_write(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    write_then(&host, "kept", Ending::Ok).await.expect("kept");
    for key in ["kept", "new"] {
        let request = WriteAnywayRequest { key: key.into() };
        let errors = host
            .faults()
            .write_anyway(request)
            .await
            .expect("answered")
            .into_inner()
            .errors;
        assert!(
            errors.len() == 6 && errors.iter().all(|error| !error.is_empty()),
            "{errors:?}"
        );
    }
    assert_eq!(read(&host, "kept").await, Some("kept".into()));
    assert_eq!(read(&host, "new").await, None);
    write_then(&host, "last", Ending::Ok).await.expect("kept");
    assert_eq!(keys(&until_events(&host.data, 2).await), ["kept", "last"]);
    host.stop().await;
}

async fn a_restart_keeps_orders_and_events(isolation: Isolation) {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = || Setup::of(Plugin::order(isolation)).data(folder.path());
    let host = setup().start().await;
    host.orders().create_order(order("first")).await.expect("placed");
    let first = host
        .orders()
        .get_order(GetOrderRequest { id: "first".into() })
        .await
        .expect("found");
    host.stop().await;

    let host = setup().start().await;
    let again = host
        .orders()
        .get_order(GetOrderRequest { id: "first".into() })
        .await
        .expect("kept");
    assert_eq!(again.get_ref(), first.get_ref());
    let taken = host.orders().create_order(order("first")).await;
    assert_eq!(taken.expect_err("taken").code(), Code::AlreadyExists);
    host.orders().create_order(order("second")).await.expect("placed");
    let seen = until_events(folder.path(), 2).await;
    assert_eq!(
        keys(&seen),
        ["first", "second"],
        "each delivered once over both runs"
    );
    host.stop().await;
}

async fn a_crash_keeps_what_was_answered(isolation: Isolation) {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = || Setup::of(Plugin::order(isolation)).data(folder.path());
    let host = setup().start().await;
    let ids: Vec<_> = (0..10).map(|number| format!("order-{number}")).collect();
    for id in &ids {
        host.orders().create_order(order(id)).await.expect("placed");
    }
    host.kill().await;

    let host = setup().start().await;
    for id in &ids {
        host.orders()
            .get_order(GetOrderRequest { id: id.clone() })
            .await
            .expect("kept");
    }
    // At least once, in order: a crash may repeat what was on its way.
    let seen = until_some("all events", async || {
        let seen = events(folder.path());
        let different: BTreeSet<_> = keys(&seen).into_iter().map(str::to_owned).collect();
        (different.len() == ids.len()).then_some(seen)
    })
    .await;
    let different: BTreeSet<_> = seen.iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(different.len(), ids.len(), "a repeated event has the id it had");
    host.stop().await;
}

async fn rate_limits_outlive_failed_calls(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let take = async |fail: bool| {
        let request = TakeRequest {
            bucket: "caller".into(),
            tokens: 1,
            burst: 3,
            refill: 1,
            period_milliseconds: 86_400_000,
            fail,
        };
        host.faults().take(request).await
    };
    for _ in 0..3 {
        assert_eq!(take(true).await.expect_err("as told").code(), Code::Aborted);
    }
    let refused = take(false).await.expect("answered").into_inner();
    assert!(
        !refused.allowed && refused.retry_after_milliseconds > 0,
        "{refused:?}"
    );
    host.stop().await;
}
