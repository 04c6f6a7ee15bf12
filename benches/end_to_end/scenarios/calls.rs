//! Small calls, as many as a server takes.

use super::{Context, check_growths};
use crate::client::Call;
use crate::load::{Callers, saturate};
use crate::peers::{COMPONENT, FRESH, GO, NATIVE, PYTHON, REUSED, TONIC, start_all};
use crate::report::{Bound, Compared, Scenario};

const RATE: &str = "calls/s";
const CPU: &str = "server CPU per call, us";

pub(super) fn run(context: &Context) -> Scenario {
    let callers = Callers::MANY;
    let title = format!(
        "{} connections with {} calls in flight each",
        callers.connections, callers.per_connection
    );
    let mut scenario = Scenario::new("calls", &title);
    let servers = start_all(
        &[TONIC, NATIVE, REUSED, FRESH, COMPONENT, PYTHON, GO],
        &context.setup(),
    );
    let calls = [Call::place()];
    for round in 0..=context.rounds(7) {
        for (name, server) in &servers {
            let outcome = saturate(server, &calls, callers, context.time(2.0)).checked();
            if round > 0 {
                scenario.measured(name, RATE, outcome.calls_per_second());
                scenario.measured(name, CPU, outcome.cpu_per_call());
                scenario.measured(name, "p50, us", outcome.latency(0.5));
                scenario.measured(name, "p99, us", outcome.latency(0.99));
            }
        }
    }
    for (name, server) in &servers {
        if [REUSED, FRESH, COMPONENT].contains(name) {
            check_growths(&mut scenario, name, server);
        }
    }
    targets(&mut scenario);
    scenario
}

fn targets(scenario: &mut Scenario) {
    for (target, server, least, most) in [("P1", REUSED, 0.95, 1.15), ("P2", FRESH, 0.80, 1.40)] {
        let rate = scenario.compared(Compared::Ratio, server, TONIC, RATE);
        let what = format!("{server}: throughput, of plain tonic's");
        scenario.target(target, what, rate, Bound::AtLeast(least));
        let cpu = scenario.compared(Compared::Ratio, server, TONIC, CPU);
        let what = format!("{server}: CPU per call, of plain tonic's");
        scenario.target(target, what, cpu, Bound::AtMost(most));
    }
    let sandbox = scenario.compared(Compared::Difference, FRESH, NATIVE, CPU);
    let what = format!("{FRESH}: CPU per call over {NATIVE}, us");
    scenario.target("P2", what, sandbox, Bound::AtMost(6.0));
    let component = scenario.compared(Compared::Ratio, COMPONENT, TONIC, CPU);
    let what = format!("{COMPONENT}: CPU per call, of plain tonic's");
    scenario.target("P2", what, component, Bound::AtMost(2.0));
}
