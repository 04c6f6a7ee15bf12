//! Whether a call has become dearer: CPU time per call, as a ratio to plain tonic in the same run, against the ratios
//! in `reference.json`. It is tried again before it fails, so that noise does not fail it.

use std::collections::HashMap;

use super::{Context, check_growths};
use crate::client::Call;
use crate::load::{Callers, saturate};
use crate::peers::{FRESH, REUSED, TONIC, start_all};
use crate::report::{Bound, Compared, Scenario};
use crate::support::server::Server;

/// By optimisation level, which decides much, and server. To take them anew, run this on a quiet machine.
const REFERENCES: &str = include_str!("../reference.json");

/// How much a ratio may be over its reference.
const TOLERANCE: f64 = 1.15;
const TRIES: usize = 4;
const CPU: &str = "server CPU per call, us";

pub(super) fn run(context: &Context) -> Scenario {
    let servers = start_all(&[TONIC, REUSED, FRESH], &context.setup());
    for _ in 1..TRIES {
        let scenario = attempt(context, &servers);
        if scenario.missed() == 0 {
            return scenario;
        }
        scenario.print();
    }
    let mut scenario = attempt(context, &servers);
    if scenario.missed() > 0 {
        scenario.fail(format!("a call has become dearer in each of {TRIES} attempts"));
    }
    scenario
}

fn attempt(context: &Context, servers: &[(&str, Server)]) -> Scenario {
    let references: HashMap<String, HashMap<String, f64>> =
        serde_json::from_str(REFERENCES).expect("the file is right");
    let level = env!("MORTISE_OPT_LEVEL");
    let mut scenario = Scenario::new("guard", &format!("optimisation level {level}"));
    for round in 0..=context.rounds(5) {
        for (name, server) in servers {
            let outcome = saturate(server, &[Call::place()], Callers::MANY, context.time(1.0)).checked();
            if round > 0 {
                scenario.measured(name, CPU, outcome.cpu_per_call());
            }
        }
    }
    for (name, server) in &servers[1..] {
        check_growths(&mut scenario, name, server);
        let ratio = scenario.compared(Compared::Ratio, name, TONIC, CPU);
        let reference = references.get(level).and_then(|references| references.get(*name));
        match reference {
            Some(reference) => {
                let what = format!("{name}: CPU per call, of plain tonic's ({reference} kept)");
                scenario.target("guard", what, ratio, Bound::AtMost(reference * TOLERANCE));
            }
            None => scenario.fail(format!("{name}: no reference for optimisation level {level}")),
        }
    }
    scenario
}
