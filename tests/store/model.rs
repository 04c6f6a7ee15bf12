//! Random transactions that overlap in every way, checked against a plain map: those that committed must
//! have seen exactly what they would have seen running one after the other, in the order of their commits.

use std::collections::BTreeMap;

use bytes::Bytes;
use mortise::capability::store::{
    Access, Bounds, CommitError, Direction, Options, Range, Submission, Transaction,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::*;

/// Key to value and the commit that wrote it.
type Model = BTreeMap<Bytes, (Bytes, u64)>;

const KEYS: u8 = 12;

#[derive(Debug, Clone)]
enum Operation {
    Get(Bytes),
    Put(Bytes, Bytes),
    Insert(Bytes, Bytes),
    Delete(Bytes),
    Scan(Range),
}

#[derive(Debug, Clone, PartialEq)]
enum Observed {
    Value(Option<(Bytes, u64)>),
    Bool(bool),
    Nothing,
    Page(Vec<(Bytes, Bytes, u64)>, bool),
}

fn random_key(random: &mut StdRng) -> Bytes {
    let mut key = vec![b'a' + random.random_range(0..KEYS)];
    if random.random_bool(0.2) {
        key.push(random.random_range(0..3));
    }
    key.into()
}

fn random_range(random: &mut StdRng) -> Range {
    let (mut start, mut end) = (random_key(random), random_key(random));
    if end < start {
        std::mem::swap(&mut start, &mut end);
    }
    let direction = if random.random() {
        Direction::Ascending
    } else {
        Direction::Descending
    };
    let end = random.random_bool(0.8).then_some(end);
    Range {
        start,
        end,
        cursor: None,
        direction,
        limit: random.random_range(1..6),
    }
}

fn random_operation(random: &mut StdRng) -> Operation {
    let value = Bytes::from(random.random::<u32>().to_string());
    match random.random_range(0..10) {
        0..3 => Operation::Get(random_key(random)),
        3..5 => Operation::Put(random_key(random), value),
        5..6 => Operation::Insert(random_key(random), value),
        6..8 => Operation::Delete(random_key(random)),
        _ => Operation::Scan(random_range(random)),
    }
}

fn run(transaction: &mut Transaction, operation: &Operation) -> Observed {
    match operation {
        Operation::Get(key) => Observed::Value(transaction.get(key).unwrap().map(|v| (v.value, v.version))),
        Operation::Put(key, value) => {
            transaction.put(key, value.clone()).unwrap();
            Observed::Nothing
        }
        Operation::Insert(key, value) => Observed::Bool(transaction.insert(key, value.clone()).unwrap()),
        Operation::Delete(key) => Observed::Bool(transaction.delete(key).unwrap()),
        Operation::Scan(range) => {
            let page = transaction.blocking_scan(range).unwrap();
            let entries = page
                .entries
                .into_iter()
                .map(|e| (e.key, e.value, e.version))
                .collect();
            Observed::Page(entries, page.cursor.is_some())
        }
    }
}

/// What `operation` sees and does when nothing else runs; version 0 marks the running transaction's writes.
fn run_on_model(model: &mut Model, operation: &Operation, max_page: usize) -> Observed {
    match operation {
        Operation::Get(key) => Observed::Value(model.get(key).cloned()),
        Operation::Put(key, value) => {
            model.insert(key.clone(), (value.clone(), 0));
            Observed::Nothing
        }
        Operation::Insert(key, value) => {
            let free = !model.contains_key(key);
            if free {
                model.insert(key.clone(), (value.clone(), 0));
            }
            Observed::Bool(free)
        }
        Operation::Delete(key) => Observed::Bool(model.remove(key).is_some()),
        Operation::Scan(range) => {
            let inside = |key: &Bytes| *key >= range.start && range.end.as_ref().is_none_or(|end| key < end);
            let rows = model.iter().filter(|(key, _)| inside(key));
            let mut rows: Vec<_> = rows
                .map(|(key, (value, v))| (key.clone(), value.clone(), *v))
                .collect();
            if range.direction == Direction::Descending {
                rows.reverse();
            }
            let limit = max_page.min(range.limit as usize);
            let more = rows.len() >= limit;
            rows.truncate(limit);
            Observed::Page(rows, more)
        }
    }
}

struct Running {
    transaction: Transaction,
    access: Access,
    log: Vec<(Operation, Observed)>,
}

/// Replays `log` on a copy of `model`; the changed copy if every observation is the same.
fn replay(model: &Model, log: &[(Operation, Observed)], max_page: usize) -> Result<Model, String> {
    let mut model = model.clone();
    for (operation, observed) in log {
        let expected = run_on_model(&mut model, operation, max_page);
        if *observed != expected {
            return Err(format!("{operation:?} saw {observed:?} instead of {expected:?}"));
        }
    }
    Ok(model)
}

async fn simulate(seed: u64, place: &Place) {
    const MAX_PAGE: usize = 4;
    let mut random = StdRng::seed_from_u64(seed);
    let bounds = Bounds {
        max_page_entries: MAX_PAGE,
        ..Bounds::default()
    };
    // Small enough that some snapshots become stale.
    let max_log_bytes = if random.random() { 3_000 } else { 1 << 20 };
    let store = place.open_with(Options {
        bounds,
        max_log_bytes,
        ..Options::default()
    });

    let mut running: Vec<Running> = Vec::new();
    let mut submitted: Vec<(Submission, Vec<(Operation, Observed)>)> = Vec::new();
    let mut committed: BTreeMap<u64, Vec<(Operation, Observed)>> = BTreeMap::new();
    let mut readers: Vec<Vec<(Operation, Observed)>> = Vec::new();
    let mut conflicts = 0;

    for _ in 0..600 {
        match random.random_range(0..12) {
            0..2 if running.len() < 8 => {
                let access = if random.random_bool(0.2) {
                    Access::ReadOnly
                } else {
                    Access::ReadWrite
                };
                let transaction = store.begin(&order(), access);
                running.push(Running {
                    transaction,
                    access,
                    log: Vec::new(),
                });
            }
            2..9 if !running.is_empty() => {
                let index = random.random_range(0..running.len());
                let Running {
                    transaction,
                    access,
                    log,
                } = &mut running[index];
                let mut operation = random_operation(&mut random);
                while *access == Access::ReadOnly
                    && !matches!(operation, Operation::Get(_) | Operation::Scan(_))
                {
                    operation = random_operation(&mut random);
                }
                let observed = run(transaction, &operation);
                log.push((operation, observed));
            }
            9..11 if !running.is_empty() => {
                let done = running.swap_remove(random.random_range(0..running.len()));
                match done.transaction.is_empty() {
                    true => readers.push(done.log),
                    false => submitted.push((store.commit(done.transaction), done.log)),
                }
            }
            11 => {
                for (submission, log) in submitted.drain(..) {
                    match submission.await {
                        Ok(outcome) => assert!(committed.insert(outcome.sequence.unwrap(), log).is_none()),
                        Err(CommitError::Conflict(_)) => conflicts += 1,
                        Err(other) => panic!("seed {seed}: {other:?}"),
                    }
                }
            }
            _ => {}
        }
    }
    for (submission, log) in submitted {
        if let Ok(outcome) = submission.await {
            committed.insert(outcome.sequence.unwrap(), log);
        }
    }

    let mut states = vec![Model::new()];
    for (sequence, log) in &committed {
        let before = states.last().unwrap();
        let after =
            replay(before, log, MAX_PAGE).unwrap_or_else(|e| panic!("seed {seed}, commit {sequence}: {e}"));
        let numbered = after
            .into_iter()
            .map(|(k, (v, version))| (k, (v, if version == 0 { *sequence } else { version })));
        states.push(numbered.collect());
    }
    for log in readers {
        let consistent = states.iter().any(|state| replay(state, &log, MAX_PAGE).is_ok());
        assert!(consistent, "seed {seed}: no one state explains {log:?}");
    }
    let mut reader = read(&store);
    for (key, (value, version)) in states.last().unwrap() {
        let found = reader.get(key).unwrap().unwrap();
        assert_eq!((&found.value, found.version), (value, *version), "seed {seed}");
    }
    assert!(
        committed.len() > 10 && conflicts > 0,
        "seed {seed} tests something"
    );
}

on_every_backend!(random_overlapping_transactions_are_serialisable);

async fn random_overlapping_transactions_are_serialisable(place: Place) {
    // Those that wait for a disk take longer.
    let seeds = if place.lasts() { 200..220 } else { 0..200 };
    for seed in seeds {
        // A place of its own for each.
        let place = place.another();
        simulate(seed, &place).await;
    }
}
