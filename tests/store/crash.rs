//! A host that is killed at any moment: what was acknowledged is there, what is there is whole, and every
//! event is delivered.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use mortise::capability::events::{JsonLines, Relay, RelayOptions};
use mortise::capability::store::{CommitError, Direction, Options, Store};
use rand::RngExt;
use serde_json::Value;

use crate::support::*;

/// Tells the child, which is this test binary again, where to work.
const DIRECTORY: &str = "MORTISE_TEST_CRASH_DIRECTORY";
const WORKERS: usize = 6;
const ROUNDS: usize = 12;

#[test]
fn nothing_acknowledged_is_lost_when_the_host_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = start_child(directory.path());
        let stdout = child.stdout.take().unwrap();
        let acknowledgements = rand::rng().random_range(1..400);
        // The kill falls anywhere into the batch under way.
        read_acknowledgements(stdout, acknowledgements, &mut acknowledged);
        child.kill().unwrap();
        child.wait().unwrap();
        check(directory.path(), &acknowledged, round);
    }
    assert!(acknowledged.values().sum::<u64>() > ROUNDS as u64);
}

fn start_child(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Records, per worker, the last number that the child has said to be committed.
fn read_acknowledgements(stdout: ChildStdout, count: usize, acknowledged: &mut BTreeMap<usize, u64>) {
    let lines = BufReader::new(stdout).lines().map(Result::unwrap);
    // The test harness of the child writes lines of its own.
    let pairs = lines.filter_map(|line| {
        let (worker, number) = line.strip_prefix("committed ")?.split_once(' ')?;
        Some((worker.parse().unwrap(), number.parse().unwrap()))
    });
    for (worker, number) in pairs.take(count) {
        acknowledged.insert(worker, number);
    }
}

fn check(directory: &Path, acknowledged: &BTreeMap<usize, u64>, round: usize) {
    let store = Store::open(directory, Options::default()).unwrap();
    let mut reader = read(&store);
    let mut written = 0;
    for worker in 0..WORKERS {
        let last: u64 = get(&mut reader, &format!("last/{worker}")).map_or(0, |n| n.parse().unwrap());
        let known = acknowledged.get(&worker).copied().unwrap_or(0);
        assert!(
            last >= known,
            "round {round}, worker {worker}: {known} was acknowledged, {last} is there"
        );
        for number in 1..=last {
            assert!(
                get(&mut reader, &item(worker, number)).is_some(),
                "round {round}: {worker}/{number}"
            );
            reader = read(&store);
        }
        let next = range(
            &item(worker, last + 1),
            Some(&format!("item/{worker}0")),
            Direction::Ascending,
            1,
        );
        assert!(
            reader.blocking_scan(&next).unwrap().entries.is_empty(),
            "round {round}: a part of a commit"
        );
        written += last;
    }
    let total: u64 = get(&mut reader, "total").map_or(0, |n| n.parse().unwrap());
    assert_eq!(total, written, "round {round}: each commit adds one to the total");
    deliver_and_check(&store, directory, round);
}

/// Delivers what is left and compares the file with the store.
fn deliver_and_check(store: &Store, directory: &Path, round: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let path = directory.join("events.jsonl");
    runtime.block_on(async {
        let relay = start_relay(store, &path).await;
        let mut transaction = write(store);
        transaction.publish("end.of.round", "", bytes("")).unwrap();
        let last = commit(store, transaction).await.unwrap().sequence.unwrap();
        eventually("delivery of what is left", || {
            relay.status()[0].delivered.sequence == last
        })
        .await;
        relay.stop().await;
    });
    let mut ids = HashSet::new();
    let mut next = BTreeMap::new();
    for line in fs::read_to_string(&path).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let first_delivery = ids.insert(line["id"].as_str().unwrap().to_owned());
        if line["topic"] != "item.added" || !first_delivery {
            continue;
        }
        let (worker, number) = line["key"].as_str().unwrap().split_once('/').unwrap();
        let expected = next.entry(worker.to_owned()).or_insert(1);
        assert_eq!(
            number,
            expected.to_string(),
            "round {round}: every event of worker {worker}, in order"
        );
        *expected += 1;
    }
    let mut reader = read(store);
    for worker in 0..WORKERS {
        let last = get(&mut reader, &format!("last/{worker}")).map_or(0, |n| n.parse().unwrap());
        assert_eq!(
            next.get(&worker.to_string()).map_or(0, |next| next - 1),
            last,
            "round {round}: all events"
        );
    }
}

fn item(worker: usize, number: u64) -> String {
    format!("item/{worker}/{number:010}")
}

async fn start_relay(store: &Store, path: &Path) -> Relay {
    let sink = JsonLines::open(path).unwrap();
    Relay::start(store, vec![Box::new(sink)], RelayOptions::default())
        .await
        .unwrap()
}

/// Not a test of its own: what the test above starts and kills.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let directory = Path::new(&directory);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::open(directory, Options::default()).unwrap();
        let _relay = start_relay(&store, &directory.join("events.jsonl")).await;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| tokio::spawn(add_items(store.clone(), worker)))
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    });
}

async fn add_items(store: Store, worker: usize) {
    loop {
        let mut transaction = write(&store);
        let last_key = format!("last/{worker}");
        let number = get(&mut transaction, &last_key).map_or(0, |n| n.parse::<u64>().unwrap()) + 1;
        let total = get(&mut transaction, "total").map_or(0, |n| n.parse::<u64>().unwrap()) + 1;
        put(&mut transaction, &last_key, &number.to_string());
        put(&mut transaction, "total", &total.to_string());
        put(&mut transaction, &item(worker, number), "");
        transaction
            .publish("item.added", &format!("{worker}/{number}"), bytes(""))
            .unwrap();
        match store.commit(transaction).await {
            Ok(_) => writeln!(std::io::stdout().lock(), "committed {worker} {number}").unwrap(),
            Err(CommitError::Conflict(_)) => tokio::task::yield_now().await,
            Err(other) => panic!("{other:?}"),
        }
    }
}
