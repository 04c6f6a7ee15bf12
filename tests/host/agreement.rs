//! The fake host of the SDK and the real one, running WebAssembly, answer the same handler alike.

use mortise_guest::testing;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tonic::Code;

use crate::in_both_modes;
use crate::support::pb::faults::run_program_request::step::Step as Kind;
use crate::support::pb::faults::run_program_request::{Scan, Step};
use crate::support::pb::faults::{Row, RunProgramRequest, RunProgramResponse};
use crate::support::{Host, Isolation, Plugin, Setup};

/// What the plugin's method does, compiled for this machine. What is public there is private here.
#[allow(unreachable_pub)]
#[path = "../../plugins/faults/src/program.rs"]
mod program;

in_both_modes!(the_fake_host_and_the_real_one_agree);

const PROGRAMS: u64 = 3_000;
/// Few enough for programs to meet them.
const MAX_KEYS: u64 = 9;
const MAX_BYTES: u64 = 1024;

type Outcome = Result<RunProgramResponse, Code>;

async fn the_fake_host_and_the_real_one_agree(isolation: Isolation) {
    let plugin = Plugin::faults(isolation)
        .key("durability", "\"relaxed\"")
        .key("max_store_keys", MAX_KEYS)
        .key("max_store_bytes", MAX_BYTES);
    let real = Setup::of(plugin).start().await;
    let mut fake = testing::Host::new().quota(MAX_BYTES, MAX_KEYS);
    let mut random = StdRng::seed_from_u64(7);
    let mut refused = 0;
    for number in 0..PROGRAMS {
        let program = RunProgramRequest {
            steps: (0..random.random_range(1..10))
                .map(|_| step(&mut random))
                .collect(),
            fail: random.random_bool(0.2),
        };
        let expected = in_fake(&mut fake, program.clone());
        let found = in_real(&real, program.clone()).await;
        assert_eq!(found, expected, "program {number}: {program:?}");
        refused += u64::from(found.is_err_and(|code| code != Code::Aborted));
    }
    assert!(refused > PROGRAMS / 100, "bounds were met: {refused}");
    let all = RunProgramRequest {
        steps: vec![Step {
            step: Some(Kind::Scan(Scan {
                limit: 1_000,
                ..Scan::default()
            })),
        }],
        fail: false,
    };
    let left = in_real(&real, all.clone()).await;
    assert_eq!(left, in_fake(&mut fake, all));
    assert_ne!(left.expect("read").seen[0].rows, []);
    real.stop().await;
}

fn in_fake(fake: &mut testing::Host, request: RunProgramRequest) -> Outcome {
    let answer = fake.call(testing::Request::new(), |call| program::run(call, request));
    let answer = answer.map(|response| response.message);
    answer.map_err(|failure| Code::from_i32(failure.status.code().number()))
}

async fn in_real(real: &Host, request: RunProgramRequest) -> Outcome {
    let answer = real.faults().run_program(request).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| status.code())
}

fn step(random: &mut StdRng) -> Step {
    let kind = match random.random_range(0..20) {
        0..4 => Kind::Get(key(random)),
        4..8 => Kind::Put(row(random)),
        8..12 => Kind::Insert(row(random)),
        12..16 => Kind::Delete(key(random)),
        _ => Kind::Scan(Scan {
            start: key(random),
            end: random.random_bool(0.6).then(|| key(random)),
            descending: random.random(),
            limit: random.random_range(0..5),
        }),
    };
    Step { step: Some(kind) }
}

/// One in a hundred is too long.
fn key(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..100) {
        0 => vec![b'k'; 1_025],
        number => (0..number % 4)
            .map(|_| b"\0a\xff"[random.random_range(0..3)])
            .collect(),
    }
}

fn row(random: &mut StdRng) -> Row {
    Row {
        key: key(random),
        value: vec![7; random.random_range(0..200)],
        ..Row::default()
    }
}
