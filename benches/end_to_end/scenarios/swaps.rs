//! A plugin that is replaced again and again under full load.

use std::time::Duration;

use mortise::admin::pb::ReloadPluginRequest;

use super::Context;
use crate::client::Call;
use crate::load::{Callers, block_on, during, repeat, saturate};
use crate::report::{Bound, Compared, Scenario};
use crate::support::components;
use crate::support::server::{Server, Setup};

const STEADY: &str = "steady";
const SWAPPED: &str = "while swapped";
const P999: &str = "p99.9, us";

pub(super) fn run(context: &Context) -> Scenario {
    // So many before they count: pools fill, and both variants are compiled.
    let (rounds, swaps) = if context.quick { (2, 20) } else { (5, 250) };
    let title = format!("{} swaps under full load", (rounds - 1) * swaps);
    let mut scenario = Scenario::new("swaps", &title);
    let folder = tempfile::tempdir().expect("a folder");
    let component = std::fs::read(&context.bench).expect("it was built");
    let variants: [_; 2] = std::array::from_fn(|number| components::variant(&component, number));
    let file = folder.path().join("bench.wasm");
    components::replace(&file, &variants[1]);
    let host = Server::mortise(&Setup::of("bench", &file));
    let mut resident = Vec::new();
    for round in 0..rounds {
        let steady = saturate(&host, &[Call::place()], Callers::MANY, context.time(5.0)).checked();
        let swap = async || {
            for number in 0..swaps {
                components::replace(&file, &variants[number % 2]);
                reload(&host).await;
            }
        };
        let ((), swapped) = during(
            || block_on(swap()),
            |until| repeat(&host, &[Call::place()], Callers::MANY, Duration::ZERO, until),
        );
        resident.push(host.process().resident() as f64);
        if round > 0 {
            for (name, outcome) in [(STEADY, &steady), (SWAPPED, &swapped)] {
                scenario.measured(name, "calls/s", outcome.calls_per_second());
                scenario.measured(name, "p50, us", outcome.latency(0.5));
                scenario.measured(name, "p99, us", outcome.latency(0.99));
                scenario.measured(name, P999, outcome.latency(0.999));
            }
            scenario.measured(SWAPPED, "failed calls", swapped.failures() as f64);
        }
    }
    let failed = scenario.spread(SWAPPED, "failed calls");
    scenario.target("P5", "failed calls", failed, Bound::AtMost(0.0));
    if failed.max > 0.0 {
        scenario.fail("calls failed while their plugin was swapped");
    }
    let p999 = scenario.compared(Compared::Ratio, SWAPPED, STEADY, P999);
    scenario.target(
        "P5",
        "p99.9 while swapped, of the steady one",
        p999,
        Bound::AtMost(2.0),
    );
    // From the end of the first round on.
    for pair in resident.windows(2) {
        scenario.measured(
            SWAPPED,
            "memory for a swap, kB",
            (pair[1] - pair[0]) / 1e3 / swaps as f64,
        );
    }
    let slope = scenario.spread(SWAPPED, "memory for a swap, kB");
    let what = "memory that a swap leaves behind, kB (0 within the noise)";
    scenario.target("P5", what, slope, Bound::AtMost(1.0));
    scenario
}

async fn reload(host: &Server) {
    let mut admin = mortise::admin::connect(&host.data()).await.expect("it listens");
    let plugin = "bench".to_owned();
    let reloaded = admin.reload_plugin(ReloadPluginRequest { plugin }).await;
    reloaded.expect("the file is a plugin");
}
