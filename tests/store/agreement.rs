//! The fake store of the SDK's tests and the real one give the same answers to the same handlers.

use std::fmt::Write as _;

use bytes::Bytes;
use mortise::capability::store::{
    Access, Direction, Options, PluginOptions, Quota, Range, Store, Transaction,
};
use mortise::capability::{Error, ErrorKind};
use mortise_guest::store::{RawScan, Versioned};
use mortise_guest::testing::{Host, Request};
use mortise_guest::{Code, Status};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::*;

const PROGRAMS: u64 = 3_000;
const MAX_BYTES: u64 = 160;
const MAX_KEYS: u64 = 9;

/// What a handler does, step by step.
#[derive(Debug, Clone)]
enum Step {
    Get(Vec<u8>),
    GetMany(Vec<Vec<u8>>),
    Insert(Vec<u8>, Vec<u8>),
    Put(Vec<u8>, Vec<u8>),
    PutIf(Vec<u8>, Vec<u8>, u64),
    Delete(Vec<u8>),
    DeleteIf(Vec<u8>, u64),
    Publish(String, String, Vec<u8>),
    Scan(Scan),
}

#[derive(Debug, Clone)]
struct Scan {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    cursor: Cursor,
    descending: bool,
    limit: u32,
}

#[derive(Debug, Clone)]
enum Cursor {
    None,
    /// The one that the last scan of the call gave.
    Last,
    Forged(Vec<u8>),
}

#[derive(Debug, Clone)]
struct Call {
    read_only: bool,
    fails: bool,
    steps: Vec<Step>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fake_and_the_real_store_agree() {
    for seed in 0..PROGRAMS {
        let mut random = StdRng::seed_from_u64(seed);
        let calls: Vec<Call> = (0..random.random_range(1..6))
            .map(|_| call(&mut random))
            .collect();
        let plugin = PluginOptions {
            quota: Quota {
                max_bytes: MAX_BYTES,
                max_keys: MAX_KEYS,
            },
            ..PluginOptions::default()
        };
        let store = Store::in_memory(Options {
            plugins: [(order(), plugin)].into(),
            ..Options::default()
        })
        .unwrap();
        let mut host = Host::new().quota(MAX_BYTES, MAX_KEYS);
        for (number, call) in calls.iter().enumerate() {
            let (fake, real) = (in_fake(&mut host, call), in_real(&store, call).await);
            assert_eq!(fake, real, "seed {seed}, call {number} of {calls:#?}");
        }
        let all = Call {
            read_only: true,
            fails: false,
            steps: vec![Step::Scan(Scan {
                start: Vec::new(),
                end: None,
                cursor: Cursor::None,
                descending: false,
                limit: 1_000,
            })],
        };
        assert_eq!(
            in_fake(&mut host, &all),
            in_real(&store, &all).await,
            "seed {seed}: {calls:#?}"
        );
        assert_eq!(
            host.events().len() as u64,
            store.metrics().undelivered.value(),
            "seed {seed}"
        );
    }
}

fn call(random: &mut StdRng) -> Call {
    Call {
        read_only: random.random_bool(0.15),
        fails: random.random_bool(0.2),
        steps: (0..random.random_range(1..12)).map(|_| step(random)).collect(),
    }
}

fn step(random: &mut StdRng) -> Step {
    match random.random_range(0..12) {
        0 => Step::Get(key(random)),
        1 => Step::GetMany((0..random.random_range(0..4)).map(|_| key(random)).collect()),
        2 | 3 => Step::Insert(key(random), value(random)),
        4 | 5 => Step::Put(key(random), value(random)),
        6 => Step::PutIf(key(random), value(random), random.random_range(0..6)),
        7 => Step::Delete(key(random)),
        8 => Step::DeleteIf(key(random), random.random_range(0..6)),
        9 => {
            let topics = ["topic", "a.b-c_d", "", "no topic"];
            let topic = topics[random.random_range(0..topics.len())];
            Step::Publish(topic.into(), "key".into(), value(random))
        }
        _ => Step::Scan(Scan {
            start: key(random),
            end: random.random_bool(0.6).then(|| key(random)),
            cursor: match random.random_range(0..4) {
                0 => Cursor::Last,
                1 if random.random_bool(0.4) => Cursor::Forged(key(random)),
                _ => Cursor::None,
            },
            descending: random.random_bool(0.4),
            limit: random.random_range(0..5),
        }),
    }
}

/// Few, so that steps meet; one is too long.
fn key(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..60) {
        0 => vec![b'k'; 1_025],
        number => (0..number % 4)
            .map(|_| b"\0a\xff"[random.random_range(0..3)])
            .collect(),
    }
}

fn value(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..200) {
        0 => vec![7; (1 << 20) + 1],
        _ => vec![7; random.random_range(0..30)],
    }
}

/// What a step came to, as text.
fn seen<T: std::fmt::Debug>(trace: &mut String, answer: Result<T, String>) {
    writeln!(trace, "{answer:?}").unwrap();
}

fn found(versioned: Option<Versioned<Vec<u8>>>) -> Option<(Vec<u8>, u64)> {
    versioned.map(|found| (found.value, found.version))
}

fn in_fake(host: &mut Host, program: &Call) -> String {
    let mut trace = String::new();
    let request = match program.read_only {
        true => Request::new().read_only(),
        false => Request::new(),
    };
    let told = |status: Status| status.code().name().to_owned();
    let answer = host.call(request, |call| {
        let mut last = None;
        for step in program.steps.clone() {
            let store = call.store();
            match step {
                Step::Get(key) => seen(&mut trace, store.get(&key).map(found).map_err(told)),
                Step::GetMany(keys) => {
                    let values = store.get_many(&keys);
                    let values = values.map(|values| values.into_iter().map(found).collect::<Vec<_>>());
                    seen(&mut trace, values.map_err(told));
                }
                Step::Insert(key, value) => seen(&mut trace, store.insert(&key, &value).map_err(told)),
                Step::Put(key, value) => seen(&mut trace, store.put(&key, &value).map_err(told)),
                Step::PutIf(key, value, version) => {
                    seen(&mut trace, store.put_if(&key, &value, version).map_err(told));
                }
                Step::Delete(key) => seen(&mut trace, store.delete(&key).map_err(told)),
                Step::DeleteIf(key, version) => {
                    seen(&mut trace, store.delete_if(&key, version).map_err(told));
                }
                Step::Publish(topic, key, payload) => {
                    seen(
                        &mut trace,
                        call.publish_bytes(&topic, &key, &payload).map_err(told),
                    );
                }
                Step::Scan(scan) => {
                    let page = store.scan(RawScan {
                        start: scan.start,
                        end: scan.end,
                        cursor: cursor(scan.cursor, &last),
                        descending: scan.descending,
                        limit: scan.limit,
                    });
                    let page = page.map(|page| {
                        last.clone_from(&page.cursor);
                        let entries = page.entries.into_iter();
                        let entries = entries.map(|entry| (entry.key, entry.value, entry.version));
                        (entries.collect::<Vec<_>>(), page.cursor)
                    });
                    seen(&mut trace, page.map_err(told));
                }
            }
        }
        match program.fails {
            true => Err(Status::aborted("as told")),
            false => Ok(()),
        }
    });
    assert_eq!(answer.is_err(), program.fails);
    trace
}

fn cursor(cursor: Cursor, last: &Option<Vec<u8>>) -> Option<Vec<u8>> {
    match cursor {
        Cursor::None => None,
        Cursor::Last => last.clone(),
        Cursor::Forged(bytes) => Some(bytes),
    }
}

/// As the bindings choose the code, and the SDK passes it on: what only a wrong handler asks for is internal.
fn code(error: Error) -> String {
    let code = match error.kind() {
        ErrorKind::LimitExceeded => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::InvalidArgument | ErrorKind::ReadOnly | ErrorKind::Internal => Code::Internal,
    };
    code.name().to_owned()
}

async fn in_real(store: &Store, program: &Call) -> String {
    let mut trace = String::new();
    let access = match program.read_only {
        true => Access::ReadOnly,
        false => Access::ReadWrite,
    };
    let mut transaction = store.begin(&order(), access);
    let mut last = None;
    for step in program.steps.clone() {
        run(&mut transaction, step, &mut last, &mut trace).await;
    }
    if !program.fails {
        commit(store, transaction).await.unwrap();
    }
    trace
}

async fn run(transaction: &mut Transaction, step: Step, last: &mut Option<Vec<u8>>, trace: &mut String) {
    type Found = mortise::capability::store::Versioned;
    let found = |found: Option<Found>| found.map(|found| (found.value.to_vec(), found.version));
    match step {
        Step::Get(key) => seen(trace, transaction.get(&key).map(found).map_err(code)),
        Step::GetMany(keys) => {
            let values = transaction.get_many(&keys).await;
            let values = values.map(|values| values.into_iter().map(found).collect::<Vec<_>>());
            seen(trace, values.map_err(code));
        }
        Step::Insert(key, value) => seen(trace, transaction.insert(&key, value.into()).map_err(code)),
        Step::Put(key, value) => seen(trace, transaction.put(&key, value.into()).map_err(code)),
        Step::PutIf(key, value, version) => {
            seen(
                trace,
                transaction.put_if(&key, value.into(), version).map_err(code),
            );
        }
        Step::Delete(key) => seen(trace, transaction.delete(&key).map_err(code)),
        Step::DeleteIf(key, version) => seen(trace, transaction.delete_if(&key, version).map_err(code)),
        Step::Publish(topic, key, payload) => {
            seen(
                trace,
                transaction.publish(&topic, &key, payload.into()).map_err(code),
            );
        }
        Step::Scan(scan) => {
            let range = Range {
                start: scan.start.into(),
                end: scan.end.map(Bytes::from),
                cursor: cursor(scan.cursor, last).map(Bytes::from),
                direction: match scan.descending {
                    true => Direction::Descending,
                    false => Direction::Ascending,
                },
                limit: scan.limit,
            };
            let page = transaction.scan(&range).await;
            let page = page.map(|page| {
                *last = page.cursor.map(|cursor| cursor.to_vec());
                let entries = page.entries.into_iter();
                let entries = entries.map(|entry| (entry.key.to_vec(), entry.value.to_vec(), entry.version));
                (entries.collect::<Vec<_>>(), last.clone())
            });
            seen(trace, page.map_err(code));
        }
    }
}
