//! A host that is killed at any moment makes every call that it owes, of timers and for events, and each has
//! its effect once.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mortise::capability::Namespace;
use mortise::capability::events::{
    Relay, RelayOptions, Sink, Subscription, SubscriptionOptions, TopicPattern,
};
use mortise::capability::store::{Access, CommitError, Options, Store};
use mortise::capability::timers::{TimerOptions, Timers};
use rand::RngExt;
use tokio::sync::watch;

use crate::consumer::{Consumer, add_one};
use crate::support::*;

/// Tells the child, which is this test binary again, where to work.
const DIRECTORY: &str = "MORTISE_TEST_CRASH_CALLS_DIRECTORY";
const WORKERS: usize = 4;
const ROUNDS: usize = 8;

#[test]
fn every_call_that_is_owed_has_its_effect_once_when_the_host_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut total = 0;
    for round in 0..ROUNDS {
        let mut child = start_child(directory.path());
        let lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let commits = rand::rng().random_range(1..150);
        // The kill falls anywhere into what is being delivered.
        lines
            .filter(|line| line.starts_with("committed"))
            .take(commits)
            .for_each(drop);
        child.kill().unwrap();
        child.wait().unwrap();
        total = check(directory.path(), round);
    }
    assert!(total > ROUNDS as u64);
}

fn start_child(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash_calls::child", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn tally() -> Namespace {
    Namespace::new("tally").unwrap()
}

/// Of a plugin.
fn number(store: &Store, plugin: &Namespace, key: &str) -> u64 {
    get(&mut store.begin(plugin, Access::ReadOnly), key).map_or(0, |number| number.parse().unwrap())
}

/// Lets everything that is owed be made, and compares what there is with what there should be.
fn check(directory: &Path, round: usize) -> u64 {
    let store = Store::open(directory, Options::default()).unwrap();
    runtime().block_on(async {
        let host = Host::start(&store).await;
        let workers = 0..WORKERS;
        let committed = |worker: usize| number(&store, &order(), &format!("committed/{worker}"));
        for worker in workers.clone() {
            eventually("every event delivered", || {
                number(&store, &tally(), &format!("worker-{worker}")) >= committed(worker)
            })
            .await;
            eventually("every timer fired", || {
                number(&store, &order(), &format!("fired/{worker}")) >= committed(worker)
            })
            .await;
        }
        host.stop().await;
        for worker in workers.clone() {
            let effects = [
                number(&store, &tally(), &format!("worker-{worker}")),
                number(&store, &order(), &format!("fired/{worker}")),
            ];
            assert_eq!(effects, [committed(worker); 2], "round {round}, worker {worker}");
        }
        assert_eq!(number(&store, &tally(), "out of order"), 0, "round {round}");
        assert_eq!(store.deferred().dead().count, 0);
        assert_eq!(store.deferred().pending().len(), 0);
        workers.map(committed).sum()
    })
}

struct Host {
    relay: Relay,
    timers: Timers,
    stopping: watch::Sender<bool>,
}

impl Host {
    async fn start(store: &Store) -> Self {
        let consumer = consumer(store);
        let stopping = watch::Sender::new(false);
        let options = SubscriptionOptions {
            name: "tally".into(),
            topics: vec![TopicPattern::parse("*").unwrap()],
            plugin: tally(),
            method: "/tally.v1.Tally/OnOrder".into(),
            max_concurrent: 8,
            max_attempts: 100,
            timeout: PATIENCE,
            backoff: SubscriptionOptions::BACKOFF,
        };
        let subscription = Subscription::new(store, consumer.clone(), options, stopping.subscribe());
        let sinks: Vec<Box<dyn Sink>> = vec![Box::new(subscription)];
        let relay = Relay::start(store, sinks, RelayOptions::default()).await.unwrap();
        let timers = Timers::start(store, consumer, TimerOptions::default());
        Self {
            relay,
            timers,
            stopping,
        }
    }

    async fn stop(self) {
        self.stopping.send_replace(true);
        self.timers.stop().await;
        self.relay.stop().await;
    }
}

/// Counts timers by worker; and events, which have to come in the order of their numbers.
fn consumer(store: &Store) -> Arc<Consumer> {
    Consumer::new(store, |call, transaction| {
        let request = String::from_utf8(call.request.to_vec()).unwrap();
        match &call.event {
            None => add_one(transaction, &format!("fired/{request}")),
            Some(event) => {
                let next = get(transaction, &event.key).map_or(0, |n| n.parse::<u64>().unwrap()) + 1;
                if request != next.to_string() {
                    put(transaction, "out of order", "1");
                }
                put(transaction, &event.key, &next.to_string());
            }
        }
        Ok(())
    })
}

/// Not a test of its own: what the test above starts and kills.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    runtime().block_on(async {
        let store = Store::open(Path::new(&directory), Options::default()).unwrap();
        let _host = Host::start(&store).await;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| tokio::spawn(work(store.clone(), worker)))
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    });
}

/// Commits numbers, with an event and a timer for each.
async fn work(store: Store, worker: usize) {
    loop {
        let mut transaction = write(&store);
        let key = format!("committed/{worker}");
        let number = get(&mut transaction, &key).map_or(0, |n| n.parse::<u64>().unwrap()) + 1;
        put(&mut transaction, &key, &number.to_string());
        let (event_key, payload) = (format!("worker-{worker}"), bytes(&number.to_string()));
        transaction.publish("number", &event_key, payload).unwrap();
        let when = SystemTime::now() + Duration::from_millis(number % 20);
        let request = bytes(&worker.to_string());
        transaction
            .schedule(when, "/order.v1.Orders/Fire", request)
            .unwrap();
        match store.commit(transaction).await {
            Ok(_) => writeln!(std::io::stdout().lock(), "committed {worker} {number}").unwrap(),
            Err(CommitError::Conflict(_)) => tokio::task::yield_now().await,
            Err(other) => panic!("{other:?}"),
        }
    }
}
