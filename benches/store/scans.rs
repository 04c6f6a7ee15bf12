//! How long pages of scans take, and for how long of that they hold the thread that asks for them.

use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mortise::capability::Namespace;
use mortise::capability::store::{Access, Direction, Options, Range, Store};

const KEYS: u32 = 50_000;
const ROUNDS: usize = 101;

/// How long a page took.
#[derive(Clone, Copy)]
struct Took {
    entries: usize,
    /// Until it was there.
    all: Duration,
    /// Of that on the thread that asked.
    held: Duration,
}

pub(crate) async fn run() {
    println!("\nvalue bytes  entries  cold: page  held  warm: page  held  on that thread");
    for value_bytes in [16, 1_000, 4_000] {
        let directory = tempfile::tempdir().expect("a folder");
        let namespace = Namespace::new("bench").expect("a name");
        let store = Store::open(directory.path(), Options::default()).expect("a store");
        fill(&store, &namespace, value_bytes).await;
        store.close();
        // The largest pages that the host gives, and those that are read at once.
        for limit in [u32::MAX, 128, 16] {
            let store = Store::open(directory.path(), Options::default()).expect("a store");
            // Cold for the store; the system may have the file in memory.
            let cold = scanned(&store, &namespace, limit).await;
            let (mut warm, mut blocking) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                warm.push(scanned(&store, &namespace, limit).await);
                blocking.push(blocked(&store, &namespace, limit));
            }
            let median = |of: fn(&Took) -> Duration| {
                let mut sorted: Vec<_> = warm.iter().map(of).collect();
                sorted.sort();
                millis(sorted[ROUNDS / 2])
            };
            blocking.sort();
            println!(
                "{value_bytes:11}  {:7}  {:7.2} ms {:5.2}  {:7.2} ms {:5.2}  {:11.2} ms",
                cold.entries,
                millis(cold.all),
                millis(cold.held),
                median(|took| took.all),
                median(|took| took.held),
                millis(blocking[ROUNDS / 2]),
            );
            store.close();
        }
    }
}

async fn fill(store: &Store, namespace: &Namespace, value_bytes: usize) {
    let value = Bytes::from(vec![7; value_bytes]);
    for batch in 0..KEYS / 1_000 {
        let mut transaction = store.begin(namespace, Access::ReadWrite);
        for key in 0..1_000 {
            let key = (batch * 1_000 + key).to_be_bytes();
            transaction.put(&key, value.clone()).expect("staged");
        }
        store.commit(transaction).await.expect("committed");
    }
}

fn range(limit: u32) -> Range {
    Range {
        start: Bytes::new(),
        end: None,
        cursor: None,
        direction: Direction::Ascending,
        limit,
    }
}

async fn scanned(store: &Store, namespace: &Namespace, limit: u32) -> Took {
    let mut transaction = store.begin(namespace, Access::ReadOnly);
    let range = range(limit);
    let mut scan = pin!(transaction.scan(&range));
    let mut held = Duration::ZERO;
    let began = Instant::now();
    let page = poll_fn(|context| {
        let began = Instant::now();
        let polled = scan.as_mut().poll(context);
        held += began.elapsed();
        polled
    });
    let entries = page.await.expect("a page").entries.len();
    Took {
        entries,
        all: began.elapsed(),
        held,
    }
}

fn blocked(store: &Store, namespace: &Namespace, limit: u32) -> Duration {
    let mut transaction = store.begin(namespace, Access::ReadOnly);
    let began = Instant::now();
    let page = transaction.blocking_scan(&range(limit));
    page.expect("a page");
    began.elapsed()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
