//! Calls that the host owes, to timers and for events, through everything that can come between.

use std::fs;
use std::time::Duration;

use prost::Message;
use rand::RngExt;
use tonic::Request;
use tonic::transport::Channel;

use crate::admin::{mortise, stdout};
use crate::support::pb::faults::faults_client::FaultsClient;
use crate::support::pb::faults::write_then_request::Ending;
use crate::support::pb::faults::*;
use crate::support::{Host, Isolation, LiveFile, Plugin, Setup, components, until_some};
use crate::timers::{read, remembered};

/// Events to the plugin's own method. None is ever given up.
const SECTIONS: &str = "[timers]\nmax_attempts = 1000\n[subscriptions.remember]\ntopics = [\"faults.again\"]\n\
                        plugin = \"faults\"\nmethod = \"faults.v1.Faults/Remember\"\nmax_attempts = 1000";

/// An event whose call counts under the key `e-KEY`, and a timer whose call counts under `t-KEY`. Each is
/// there once, however often this is repeated after a failure.
async fn owe(
    faults: &mut FaultsClient<Channel>,
    key: &str,
    number: u64,
    after: &str,
) -> Result<(), tonic::Status> {
    let event = RememberRequest {
        key: format!("e-{key}"),
        number,
        after: after.into(),
        ..RememberRequest::default()
    };
    let publish = PublishRequest {
        topic: "faults.again".into(),
        key: key.into(),
        payload: event.encode_to_vec(),
    };
    let schedule = ScheduleRequest {
        count: 1,
        delay_milliseconds: (number % 50) as u32,
        request: Some(RememberRequest {
            key: format!("t-{key}"),
            after: after.into(),
            ..RememberRequest::default()
        }),
        ..ScheduleRequest::default()
    };
    let key = format!("{key}-{number}");
    faults.publish(once(publish, &key)).await?;
    faults.schedule(once(schedule, &key)).await?;
    Ok(())
}

fn once<T>(request: T, key: &str) -> Request<T> {
    let mut request = Request::new(request);
    request
        .metadata_mut()
        .insert("idempotency-key", key.parse().expect("a value"));
    request
}

/// Waits until `count` calls have counted under each of the keys and the host owes none.
async fn until_all_are_made(host: &Host, keys: &[&str], count: impl Fn(&str) -> u64) {
    until_some("every call that is owed", async || {
        let page = host.metrics().await;
        let pending = page.value("mortise_timers_pending", &[("plugin", "faults")]);
        let undelivered = page.value("mortise_events_undelivered", &[]);
        (pending == Some(0.0) && undelivered == Some(0.0)).then_some(())
    })
    .await;
    for key in keys {
        for kind in ["e", "t"] {
            let made = remembered(host, &format!("{kind}-{key}")).await;
            assert_eq!(made, count(key), "{kind}-{key}");
        }
        let disorder = read(host, &format!("e-{key}/disorder")).await;
        assert_eq!(disorder.map(String::from_utf8), None, "the events of {key}");
    }
    let dead = host.metrics().await.value("mortise_dead_letters", &[]);
    assert_eq!(dead, Some(0.0));
}

async fn until_both_fail_anew(host: &Host) {
    let failures = async || {
        let page = host.metrics().await;
        [
            "mortise_timer_failures_total",
            "mortise_subscription_failures_total",
        ]
        .map(|name| page.sum(name, &[]))
    };
    let [timers, events] = failures().await;
    until_some("retries", async || {
        let [more_timers, more_events] = failures().await;
        (more_timers > timers && more_events > events).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_a_rollback_and_a_restart_in_the_middle_of_retries_lose_nothing() {
    let [first, second] =
        [&components().faults, &components().faults_2].map(|file| fs::read(file).expect("built"));
    let live = LiveFile::copy_of(&components().faults);
    let data = tempfile::tempdir().expect("a folder");
    let setup = || {
        let plugin = Plugin::faults(Isolation::Call).file(&live.path);
        Setup::of(plugin).with(SECTIONS).data(data.path())
    };
    let host = setup().start().await;
    let keys = ["a", "b", "c"];
    for number in 1..=3 {
        for key in keys {
            let owed = owe(&mut host.faults(), key, number, "open").await;
            owed.expect("committed");
        }
    }
    until_both_fail_anew(&host).await;
    for version in [&second, &first] {
        live.rename_over(version);
        stdout(mortise(&host, &["reload", "faults"]));
        until_both_fail_anew(&host).await;
    }
    host.stop().await;
    live.rename_over(&second);
    let host = setup().start().await;
    until_both_fail_anew(&host).await;
    let open = WriteThenRequest {
        key: "open".into(),
        value: b"yes".into(),
        ending: Ending::Ok.into(),
    };
    host.faults().write_then(open).await.expect("kept");
    until_all_are_made(&host, &keys, |_| 3).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_and_timers_are_called_once_and_in_order_when_the_host_is_killed_again_and_again() {
    const KILLS: usize = 5;
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let data = tempfile::tempdir().expect("a folder");
    let setup = || {
        let plugin = Plugin::faults(Isolation::Call);
        Setup::of(plugin).with(SECTIONS).data(data.path())
    };
    // What a kill leaves open is asked for again.
    let mut next = KEYS.map(|_| 1);
    for _ in 0..KILLS {
        let host = setup().start().await;
        let workers: Vec<_> = KEYS
            .into_iter()
            .zip(next)
            .map(|(key, number)| tokio::spawn(until_killed(host.faults(), key, number)))
            .collect();
        let millis = rand::rng().random_range(20..300);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        host.kill().await;
        for (worker, next) in workers.into_iter().zip(&mut next) {
            *next = worker.await.expect("it ends with the host");
        }
    }
    let host = setup().start().await;
    for (key, number) in KEYS.into_iter().zip(next) {
        let owed = owe(&mut host.faults(), key, number, "").await;
        owed.expect("committed");
    }
    let count = |key: &str| next[KEYS.iter().position(|known| *known == key).expect("known")];
    until_all_are_made(&host, &KEYS, count).await;
    assert!(
        next.iter().sum::<u64>() > KEYS.len() as u64,
        "there was a load: {next:?}"
    );
    host.stop().await;
}

/// The first number that the host has not acknowledged.
async fn until_killed(mut faults: FaultsClient<Channel>, key: &str, mut number: u64) -> u64 {
    while owe(&mut faults, key, number, "").await.is_ok() {
        number += 1;
    }
    number
}
