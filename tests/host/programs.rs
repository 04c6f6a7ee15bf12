//! Random programs of many clients at once are as good as run one after the other, in the order of their
//! commits; those that fail are as good as never run.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tonic::Code;

use crate::in_both_modes;
use crate::support::pb::faults::run_program_request::step::Step as Kind;
use crate::support::pb::faults::run_program_request::{Scan, Step};
use crate::support::pb::faults::run_program_response::Seen;
use crate::support::pb::faults::{Row, RunProgramRequest};
use crate::support::{Host, Isolation, Plugin, Setup, reason, until_some};

in_both_modes!(programs_of_many_clients_are_serialisable);

const CLIENTS: u64 = 8;
const PROGRAMS: u64 = 20;
const KEYS: u8 = 6;
/// Keys that programs leave their names under. They come after all others, and nobody reads them meanwhile.
const NAMES: &[u8] = b"~";

/// Key to value and the commit that wrote it; 0 for the program that runs.
type Model = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;
/// By the key that holds its name.
type Committed = BTreeMap<Vec<u8>, (Vec<Step>, Vec<Seen>)>;

async fn programs_of_many_clients_are_serialisable(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let mut committed = Committed::new();
    let mut round = 0;
    // How many programs it takes until two meet is for the scheduler to decide.
    until_some("a program that ran again", async || {
        let clients: JoinSet<_> = (0..CLIENTS)
            .map(|client| run_programs(host.faults(), round * CLIENTS + client))
            .collect();
        round += 1;
        let mut again = false;
        for (programs, ran_again) in clients.join_all().await {
            committed.extend(programs);
            again |= ran_again;
        }
        again.then_some(())
    })
    .await;
    check(&host, committed).await;
    host.stop().await;
}

/// What a client's programs did and saw, of those that were committed, and whether one of them ran again.
async fn run_programs(
    mut faults: crate::support::pb::faults::faults_client::FaultsClient<tonic::transport::Channel>,
    seed: u64,
) -> (Committed, bool) {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut committed, mut ran_again) = (Committed::new(), false);
    for number in 0..PROGRAMS {
        let name = [NAMES, format!("{seed:03}/{number:03}").as_bytes()].concat();
        let mut steps: Vec<_> = (0..random.random_range(1..8))
            .map(|_| step(&mut random))
            .collect();
        steps.push(Step {
            step: Some(Kind::Put(row(name.clone(), Vec::new()))),
        });
        let request = RunProgramRequest {
            steps: steps.clone(),
            fail: random.random_bool(0.2),
        };
        match faults.run_program(request.clone()).await {
            Ok(answer) => {
                assert!(!request.fail, "it was told to fail");
                let answer = answer.into_inner();
                ran_again |= answer.attempt > 1;
                committed.insert(name, (steps, answer.seen));
            }
            Err(status) if request.fail => assert_eq!(status.message(), "failed as told"),
            Err(status) => assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::Aborted, "CONFLICT")
            ),
        }
    }
    (committed, ran_again)
}

/// Runs on the model what was committed, in the order of the commits, and expects the same to be seen.
async fn check(host: &Host, mut committed: Committed) {
    let mut order = BTreeMap::new();
    let mut left = Vec::new();
    for found in everything(host).await {
        if found.key.starts_with(NAMES) {
            assert_eq!(
                order.insert(found.version, found.key),
                None,
                "one commit for each program"
            );
        } else {
            left.push(found);
        }
    }
    let mut model = Model::new();
    for (commit, name) in order {
        let Some((steps, seen)) = committed.remove(&name) else {
            panic!("{name:?} was committed and did not answer OK");
        };
        let expected: Vec<_> = steps.iter().map(|step| run(&mut model, step)).collect();
        assert_eq!(seen, expected, "commit {commit}: {steps:?}");
        model.retain(|key, _| !key.starts_with(NAMES));
        for (_, version) in model.values_mut().filter(|(_, version)| *version == 0) {
            *version = commit;
        }
    }
    assert!(committed.is_empty(), "not there: {:?}", committed.keys());
    assert_eq!(left, rows(model.iter()));
}

/// All that the store holds.
async fn everything(host: &Host) -> Vec<Row> {
    const PAGE: u32 = 1_000;
    let mut found: Vec<Row> = Vec::new();
    loop {
        // The smallest key after the last one.
        let start = found.last().map(|last| [&last.key[..], b"\0"].concat());
        let scan = Scan {
            start: start.unwrap_or_default(),
            limit: PAGE,
            ..Scan::default()
        };
        let request = RunProgramRequest {
            steps: vec![Step {
                step: Some(Kind::Scan(scan)),
            }],
            fail: false,
        };
        let answer = host.faults().run_program(request).await.expect("read");
        let page = answer.into_inner().seen.remove(0).rows;
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

fn row(key: Vec<u8>, value: Vec<u8>) -> Row {
    Row {
        key,
        value,
        version: 0,
    }
}

fn key(random: &mut StdRng) -> Vec<u8> {
    vec![b'a' + random.random_range(0..KEYS)]
}

fn step(random: &mut StdRng) -> Step {
    let value = random.random::<u32>().to_be_bytes().to_vec();
    let step = match random.random_range(0..10) {
        0..3 => Kind::Get(key(random)),
        3..5 => Kind::Put(row(key(random), value)),
        5..7 => Kind::Insert(row(key(random), value)),
        7..8 => Kind::Delete(key(random)),
        _ => {
            let start = key(random);
            // Names are not to be read.
            let end = key(random).max(start.clone());
            Kind::Scan(Scan {
                start,
                end: Some(end),
                descending: random.random(),
                limit: random.random_range(1..4),
            })
        }
    };
    Step { step: Some(step) }
}

/// What a step sees and does when nothing else runs.
fn run(model: &mut Model, step: &Step) -> Seen {
    let there = |key: &[u8], is_there: bool| {
        let rows = is_there.then(|| row(key.to_owned(), Vec::new()));
        rows.into_iter().collect()
    };
    let seen = match step.step.as_ref().expect("it is set") {
        Kind::Get(key) => rows(model.get_key_value(key).into_iter()),
        Kind::Put(written) => {
            model.insert(written.key.clone(), (written.value.clone(), 0));
            Vec::new()
        }
        Kind::Insert(written) => {
            let taken = model.contains_key(&written.key);
            if !taken {
                model.insert(written.key.clone(), (written.value.clone(), 0));
            }
            there(&written.key, taken)
        }
        Kind::Delete(key) => there(key, model.remove(key).is_some()),
        Kind::Scan(scan) => {
            let end = scan.end.clone().expect("it is set");
            let mut found = rows(model.range(scan.start.clone()..end));
            if scan.descending {
                found.reverse();
            }
            found.truncate(scan.limit as usize);
            found
        }
    };
    Seen { rows: seen }
}

fn rows<'m>(of: impl Iterator<Item = (&'m Vec<u8>, &'m (Vec<u8>, u64))>) -> Vec<Row> {
    let rows = of.map(|(key, (value, version))| Row {
        version: *version,
        ..row(key.clone(), value.clone())
    });
    rows.collect()
}
