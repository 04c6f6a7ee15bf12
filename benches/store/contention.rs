//! What becomes of throughput when calls write the same key: each reads a counter, adds to it, and on a
//! conflict is run again when the host would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mortise::capability::Namespace;
use mortise::capability::store::{Access, CommitError, Options, Store};
use mortise::contention::Contention;
use mortise::deadline::Deadline;

use crate::figures;

const SECONDS: u64 = 1;
const ROUNDS: usize = 5;
/// Calls in flight at once, and how many in a hundred of them write the same key.
const LOADS: [(u64, u64); 6] = [(64, 0), (64, 1), (64, 10), (64, 100), (16, 100), (1, 100)];
/// As `store.max_attempts` is by default.
const MAX_ATTEMPTS: u32 = 5;

#[derive(Default)]
struct Figures {
    committed: AtomicU64,
    attempts: AtomicU64,
    given_up: AtomicU64,
    contention: Contention,
}

pub(crate) async fn run() {
    let mut rates = LOADS.map(|_| Vec::new());
    let mut attempts = LOADS.map(|_| Vec::new());
    let mut given_up = LOADS.map(|_| 0);
    for _ in 0..ROUNDS {
        for (load, (writers, hot_percent)) in LOADS.into_iter().enumerate() {
            let figures = measure(writers, hot_percent).await;
            let count = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
            let committed = count(&figures.committed) as f64;
            rates[load].push(committed / SECONDS as f64);
            attempts[load].push(count(&figures.attempts) as f64 / committed.max(1.0));
            given_up[load] += count(&figures.given_up);
        }
    }
    println!("\n{ROUNDS} rounds; calls that were given up: {given_up:?}");
    figures::header("commits per second");
    let name = |(writers, hot): (u64, u64)| format!("{writers} writers, {hot} % of writes on one key");
    for (load, rates) in LOADS.into_iter().zip(&rates) {
        figures::row(&name(load), rates.clone(), "");
    }
    figures::header("ratio to 64 writers without a hot key");
    for (load, of_load) in LOADS.into_iter().zip(&rates) {
        let ratios = of_load.iter().zip(&rates[0]).map(|(rate, all)| rate / all);
        figures::row(&name(load), ratios.collect(), "");
    }
    figures::header("attempts per commit");
    for (load, attempts) in LOADS.into_iter().zip(attempts) {
        figures::row(&name(load), attempts, "");
    }
}

async fn measure(writers: u64, hot_percent: u64) -> Arc<Figures> {
    let directory = tempfile::tempdir().expect("a folder");
    let store = Store::open(directory.path(), Options::default()).expect("a store");
    let figures = Arc::new(Figures::default());
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (store, figures) = (store.clone(), figures.clone());
            tokio::spawn(async move {
                let mut call = 0u64;
                while Instant::now() < end {
                    call += 1;
                    // Spread evenly, and not in step.
                    let key = match (37 * call + 13 * writer) % 100 < hot_percent {
                        true => "hot".to_owned(),
                        false => format!("{writer}/{}", call % 1_000),
                    };
                    match increment(&store, key.as_bytes(), &figures).await {
                        true => figures.committed.fetch_add(1, Ordering::Relaxed),
                        false => figures.given_up.fetch_add(1, Ordering::Relaxed),
                    };
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    store.close();
    figures
}

/// One call; false if it was given up.
async fn increment(store: &Store, key: &[u8], figures: &Figures) -> bool {
    let namespace = Namespace::new("bench").expect("a name");
    let deadline = Deadline::after(tokio::time::Instant::now(), None);
    let mut contender = figures.contention.enter();
    for attempt in 1..=MAX_ATTEMPTS {
        figures.attempts.fetch_add(1, Ordering::Relaxed);
        let mut transaction = store.begin(&namespace, Access::ReadWrite);
        let value = transaction.get(key).expect("read");
        let value = value.map_or(0, |found| {
            u64::from_be_bytes((*found.value).try_into().expect("8 bytes"))
        });
        let next = Bytes::copy_from_slice(&(value + 1).to_be_bytes());
        transaction.put(key, next).expect("staged");
        let committed = match contender.taken(&transaction) {
            taken @ Some(_) if attempt < MAX_ATTEMPTS => Err(CommitError::Conflict(taken)),
            _ => store.commit(transaction).await,
        };
        match committed {
            Ok(_) => return true,
            Err(CommitError::Conflict(over)) => {
                let again = contender.lost(over, attempt, &deadline).await;
                again.expect("a call that never expires");
            }
            Err(error) => panic!("{error}"),
        }
    }
    false
}
