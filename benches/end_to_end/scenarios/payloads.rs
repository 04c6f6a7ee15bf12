//! Large messages there and back: throughput, and memory for one call.

use super::Context;
use crate::client::Call;
use crate::load::{Callers, saturate};
use crate::peers::{FRESH, NATIVE, REUSED, TONIC, start_all};
use crate::report::{Bound, Compared, Scenario};

struct Size {
    name: &'static str,
    bytes: usize,
    callers: Callers,
    /// Smaller ones do not stand out.
    memory: bool,
}

const SIZES: &[Size] = &[
    Size::new("1 kB", 1 << 10, Callers::new(4, 25), false),
    Size::new("64 kB", 64 << 10, Callers::new(4, 8), false),
    Size::new("1 MB", 1 << 20, Callers::new(2, 2), true),
    Size::new("8 MB", 8 << 20, Callers::new(2, 1), true),
];

impl Size {
    const fn new(name: &'static str, bytes: usize, callers: Callers, memory: bool) -> Self {
        Self {
            name,
            bytes,
            callers,
            memory,
        }
    }
}

const SERVERS: [&str; 4] = [TONIC, NATIVE, REUSED, FRESH];

pub(super) fn run(context: &Context) -> Scenario {
    let mut scenario = Scenario::new("payloads", "messages of a size, echoed");
    throughput(context, &mut scenario);
    memory(context, &mut scenario);
    for name in [REUSED, FRESH] {
        for size in SIZES {
            let metric = rate(size);
            let ratio = scenario.compared(Compared::Ratio, name, TONIC, &metric);
            let what = format!("{name}: throughput with {}, of plain tonic's", size.name);
            scenario.target("P10", what, ratio, Bound::AtLeast(0.8));
        }
        for size in SIZES.iter().filter(|size| size.memory) {
            let peak = scenario.spread(name, &peak(size));
            let what = format!("{name}: peak memory of a call, in payloads of {}", size.name);
            scenario.target("P10", what, peak, Bound::AtMost(6.0));
        }
    }
    scenario
}

fn rate(size: &Size) -> String {
    format!("{}, calls/s", size.name)
}

fn peak(size: &Size) -> String {
    format!("{}, peak memory / payload", size.name)
}

fn throughput(context: &Context, scenario: &mut Scenario) {
    let servers = start_all(&SERVERS, &context.setup());
    for round in 0..=context.rounds(5) {
        for size in SIZES {
            let calls = [Call::echo(size.bytes)];
            for (name, server) in &servers {
                let outcome = saturate(server, &calls, size.callers, context.time(1.5)).checked();
                if round > 0 {
                    scenario.measured(name, &rate(size), outcome.calls_per_second());
                }
            }
        }
    }
}

/// In servers that have had small calls only, because memory once used is kept for the next calls.
fn memory(context: &Context, scenario: &mut Scenario) {
    for _ in 0..context.rounds(3) {
        for size in SIZES.iter().filter(|size| size.memory) {
            let calls = [Call::echo(size.bytes)];
            for (name, server) in &start_all(&SERVERS, &context.setup()) {
                saturate(server, &[Call::place()], Callers::ONE, context.time(0.5)).checked();
                let process = server.process();
                process.forget_peak();
                let before = process.resident();
                saturate(server, &calls, Callers::ONE, context.time(0.5)).checked();
                let used = process.peak().saturating_sub(before);
                scenario.measured(name, &peak(size), used as f64 / size.bytes as f64);
            }
        }
    }
}
