//! The ways of `Misbehave`.

use std::hint::black_box;
use std::time::Duration;

use mortise_guest::bindings::mortise::plugin::{log, store, timers};
use mortise_guest::{Call, Rate, Status};

use crate::pb::misbehave_request::Way;
use crate::pb::{FailRequest, FaultsMethod, RememberRequest};
use crate::{echo, resources};

/// More than any bound of the host's on one argument, and less than the guest's memory.
const HUGE: u32 = 40 * 1024 * 1024;

const LARGE: u32 = 512 * 1024;

/// Calls between the handler and the loop.
const DEPTH: u32 = 200;

const HOUR: u32 = 3_600_000;

pub fn misbehave(call: &Call, way: Way) -> Result<(), Status> {
    match way {
        Way::Unspecified => return Err(Status::invalid_argument("way must be set")),
        Way::LoopInCalls => loop_in_calls(DEPTH),
        Way::Abort => std::process::abort(),
        Way::PanicTwice => panic_twice(),
        Way::FloodImports => loop {
            black_box(call.attempt());
        },
        Way::FloodBuckets => flood(|number| {
            let rate = Rate::new(1, 1, Duration::from_secs(1));
            call.take(&format!("bucket {number}"), 1, rate).map(drop)
        })?,
        Way::FloodEvents => flood(|number| call.publish_bytes("flood", &number.to_string(), b"wet"))?,
        Way::FloodReads => flood(|number| call.store().get(&number.to_be_bytes()).map(drop))?,
        Way::FloodScans => flood(|_| scan())?,
        Way::FloodWrites => flood(|number| call.store().put(&number.to_be_bytes(), b"wet"))?,
        Way::FloodBytes => {
            let value = resources::bytes(LARGE);
            flood(|number| call.store().put(&number.to_be_bytes(), &value))?;
        }
        Way::FloodMetadata => flood(|_| call.trailers().insert("flood", "wet"))?,
        Way::HugeKey => call.store().get(&resources::bytes(HUGE)).map(drop)?,
        Way::HugeValue => call.store().put(b"huge", &resources::bytes(HUGE))?,
        Way::HugeTopic => call.publish_bytes(&huge_text(), "key", b"")?,
        Way::HugeMetadata => call.headers().insert("huge", huge_text())?,
        Way::HugeLine => log::write(log::Level::Info, "faults", &huge_text(), &[]),
        Way::FloodRandom => loop {
            black_box(call.random_bytes::<4096>());
        },
        Way::PrintAndLoop => print_and_loop(),
        Way::FloodTimers => flood(|_| {
            let request = RememberRequest::default();
            call.schedule(call.now(), FaultsMethod::REMEMBER, &request)
                .map(drop)
        })?,
        Way::HugeTimer => huge_timer()?,
        Way::FloodCancels => flood(|number| call.cancel_timer(format!("{number:032x}")).map(drop))?,
        Way::Sleep => drop(resources::sleep(HOUR)),
        Way::HugeDetails => return Err(huge_details(call)),
    }
    Ok(())
}

/// Straight to the contract's import: the SDK would encode the request beside itself, which is more than
/// fits.
fn huge_timer() -> Result<(), Status> {
    let request = resources::bytes(HUGE);
    Ok(timers::schedule(0, FaultsMethod::REMEMBER.path(), &request).map(drop)?)
}

fn huge_details(call: &Call) -> Status {
    let request = FailRequest {
        code: 5,
        message: "x".repeat(100_000),
        reasons: vec!["R".repeat(1 << 20); 8],
        ..FailRequest::default()
    };
    echo::failure(call, request)
}

/// Repeats until the host refuses.
fn flood(wave: impl FnMut(u64) -> Result<(), Status>) -> Result<(), Status> {
    (0..).try_for_each(wave)
}

#[inline(never)]
fn loop_in_calls(depth: u32) {
    if depth == 0 {
        resources::compute_for_ever();
    }
    loop_in_calls(black_box(depth - 1));
    // Comes after the call, so the call cannot become a jump.
    black_box(depth);
}

fn panic_twice() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("the second");
        }
    }
    let _guard = PanicsWhenDropped;
    panic!("the first");
}

fn print_and_loop() {
    for number in 1..=5 {
        eprintln!("line {number}");
    }
    eprint!("unfinished");
    resources::compute_for_ever();
}

/// Straight to the contract's import: the scans of the SDK belong to tables.
fn scan() -> Result<(), Status> {
    let all = store::Range {
        start: Vec::new(),
        end: None,
        cursor: None,
        direction: store::Direction::Ascending,
        limit: u32::MAX,
    };
    Ok(store::scan(&all).map(drop)?)
}

fn huge_text() -> String {
    "x".repeat(HUGE as usize)
}
