//! Handlers that compute, and what a caller of small calls notices of them.

use std::time::Duration;

use super::Context;
use crate::client::Call;
use crate::load::{Callers, Outcome, Until, during, repeat, saturate};
use crate::logic::work;
use crate::pb::{Kind, Work};
use crate::peers::{FRESH, REUSED, TONIC_COMPUTING, start_all};
use crate::report::{Bound, Compared, Scenario};
use crate::support::components;
use crate::support::server::Server;

const KINDS: &[(&str, Kind)] = &[("hash", Kind::Hash), ("sort", Kind::Sort), ("JSON", Kind::Json)];

/// Of the quiet caller.
const PAUSE: Duration = Duration::from_millis(1);
const ALONE: &str = "a neighbour's p99 alone, us";
const BESIDE: &str = "its p99 beside, us";

pub(super) fn run(context: &Context) -> Scenario {
    let mut scenario = Scenario::new(
        "computing",
        "a caller for each processor, milliseconds of work each",
    );
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let setup = context.setup().and("compute", &components::build("compute"));
    let servers = start_all(&[TONIC_COMPUTING, REUSED, FRESH], &setup);
    let all: Vec<_> = KINDS.iter().map(|(_, kind)| compute(*kind)).collect();
    for round in 0..=context.rounds(5) {
        for (name, server) in &servers {
            for ((kind, _), call) in KINDS.iter().zip(&all) {
                let callers = Callers::new(1, processors);
                let call = std::slice::from_ref(call);
                let outcome = saturate(server, call, callers, context.time(1.5)).checked();
                if round > 0 {
                    scenario.measured(name, &format!("{kind}, calls/s"), outcome.calls_per_second());
                    scenario.measured(name, &format!("{kind}, CPU us"), outcome.cpu_per_call());
                }
            }
            if *name != TONIC_COMPUTING {
                let (alone, beside) = neighbour(server, &all, 4 * processors, context.time(2.0));
                if round > 0 {
                    scenario.measured(name, ALONE, alone.latency(0.99));
                    scenario.measured(name, BESIDE, beside.latency(0.99));
                }
            }
        }
    }
    for name in [REUSED, FRESH] {
        for (kind, _) in KINDS {
            let metric = format!("{kind}, calls/s");
            let ratio = scenario.compared(Compared::Ratio, name, TONIC_COMPUTING, &metric);
            let what = format!("{name}: {kind}, throughput of the same code native");
            scenario.target("P11", what, ratio, Bound::AtLeast(0.8));
        }
        let allowed = f64::max(2.0 * scenario.spread(name, ALONE).median, 2000.0);
        let beside = scenario.spread(name, BESIDE);
        let what = format!("{name}: p99 of a neighbour, us (twice what it was, or 2 ms)");
        scenario.target("P11", what, beside, Bound::AtMost(allowed));
    }
    scenario
}

/// With what the same code answers here.
fn compute(kind: Kind) -> Call {
    let work = Work {
        kind: kind.into(),
        seed: 42,
    };
    let outcome = work::run(&work).expect("a kind of work");
    Call::new("/compute.v1.Compute/Run", &work, &outcome)
}

/// A caller of small calls, first alone, then while so many others have the host compute.
fn neighbour(host: &Server, work: &[Call], others: usize, time: Duration) -> (Outcome, Outcome) {
    let quiet = |until| repeat(host, &[Call::place()], Callers::ONE, PAUSE, until).checked();
    let alone = quiet(Until::after(time));
    let others = Callers::new(1, others);
    let (_, beside) = during(|| saturate(host, work, others, time).checked(), quiet);
    (alone, beside)
}
