//! What a caller waits: at half of what a native server takes, and alone.

use super::{Context, check_growths};
use crate::client::Call;
use crate::load::{Callers, paced, saturate};
use crate::peers::{FRESH, NATIVE, REUSED, TONIC, start_all};
use crate::report::{Bound, Compared, Scenario};

const HALF_LOAD: &str = "half load p99, us";
const ALONE: &str = "alone p50, us";

pub(super) fn run(context: &Context) -> Scenario {
    let servers = start_all(&[TONIC, NATIVE, REUSED, FRESH], &context.setup());
    let (_, tonic) = &servers[0];
    let calls = [Call::place()];
    // The first time warms it up.
    let [_, full] = [(); 2].map(|()| saturate(tonic, &calls, Callers::MANY, context.time(1.0)).checked());
    let rate = full.calls_per_second() / 2.0;
    let title = format!("{rate:.0} calls a second, half of what plain tonic takes, and one caller alone");
    let mut scenario = Scenario::new("latency", &title);
    for round in 0..=context.rounds(7) {
        for (name, server) in &servers {
            let loaded = paced(server, &calls[0], rate, context.time(2.0)).checked();
            let alone = saturate(server, &calls, Callers::ONE, context.time(1.0)).checked();
            if round > 0 {
                scenario.measured(name, "half load p50, us", loaded.latency(0.5));
                scenario.measured(name, HALF_LOAD, loaded.latency(0.99));
                scenario.measured(name, ALONE, alone.latency(0.5));
                scenario.measured(name, "alone p99, us", alone.latency(0.99));
            }
        }
    }
    for (name, server) in &servers[2..] {
        check_growths(&mut scenario, name, server);
        let loaded = scenario.compared(Compared::Ratio, name, TONIC, HALF_LOAD);
        let what = format!("{name}: p99 at half load, of plain tonic's");
        scenario.target("P4", what, loaded, Bound::AtMost(1.15));
        let alone = scenario.compared(Compared::Difference, name, TONIC, ALONE);
        let what = format!("{name}: p50 of a lone call over plain tonic's, us");
        scenario.target("P4", what, alone, Bound::AtMost(15.0));
    }
    scenario
}
