//! A thousand plugins in one host, each with a service of its own.

use std::time::Instant;

use super::Context;
use crate::client::{Call, Client};
use crate::load::{Callers, block_on, saturate};
use crate::report::{Bound, Compared, Scenario};
use crate::support::components;
use crate::support::server::{Server, Setup};

const ONE: &str = "one plugin";
const MANY: &str = "all plugins, one is called";
const EVENLY: &str = "all plugins, evenly called";
const CPU: &str = "server CPU per call, us";

pub(super) fn run(context: &Context) -> Scenario {
    let count = if context.quick { 20 } else { 1000 };
    let mut scenario = Scenario::new("plugins", &format!("{count} plugins in one host"));
    let folder = components::target_folder().join("bench-plugins");
    let packages: Vec<_> = (0..count).map(|number| format!("b{number:04}.v1")).collect();
    let many = plugins(context, &packages, &folder).cache(&folder.join("compiled"));
    let one = plugins(context, &packages[..1], &folder).cache(&folder.join("compiled"));
    let calls: Vec<_> = packages.iter().map(|package| place(package)).collect();
    // The first start compiles what was not compiled before.
    let (_, first) = started(&many, &calls);
    scenario.note(format!(
        "The first start, which compiles what earlier runs have not, took {first:.0} s."
    ));
    for _ in 0..context.rounds(3) {
        let (one, took_one) = started(&one, &calls[..1]);
        let (many, took_many) = started(&many, &calls);
        let others = (count - 1) as f64;
        let start = (took_many - took_one) * 1e3 / others;
        let memory = |one: &Server, many: &Server| {
            let more = many.process().resident() as f64 - one.process().resident() as f64;
            more / 1e6 / others
        };
        let loaded = memory(&one, &many);
        for (name, server, calls) in [
            (ONE, &one, &calls[..1]),
            (MANY, &many, &calls[..1]),
            (EVENLY, &many, &calls[..]),
        ] {
            for counted in [false, true] {
                let outcome = saturate(server, calls, Callers::MANY, context.time(2.0)).checked();
                if counted {
                    scenario.measured(name, CPU, outcome.cpu_per_call());
                    scenario.measured(name, "calls/s", outcome.calls_per_second());
                }
            }
        }
        scenario.measured(MANY, "start of each, ms", start);
        scenario.measured(MANY, "memory of each, MB", loaded);
        scenario.measured(EVENLY, "memory of each, MB", memory(&one, &many));
    }
    for (name, most) in [(MANY, 1.05), (EVENLY, 2.0)] {
        let cpu = scenario.compared(Compared::Ratio, name, ONE, CPU);
        let what = format!("{name}: CPU per call, of that with one plugin");
        scenario.target("P9", what, cpu, Bound::AtMost(most));
    }
    let start = scenario.spread(MANY, "start of each, ms");
    scenario.target("P9", "start of each, ms", start, Bound::AtMost(5.0));
    for name in [MANY, EVENLY] {
        let memory = scenario.spread(name, "memory of each, MB");
        scenario.target(
            "P9",
            format!("{name}: memory of each, MB"),
            memory,
            Bound::AtMost(1.5),
        );
    }
    scenario
}

/// A plugin for each package, in files that are there from an earlier run or are made now.
fn plugins(context: &Context, packages: &[String], folder: &std::path::Path) -> Setup {
    let component = std::fs::read(&context.bench).expect("it was built");
    std::fs::create_dir_all(folder).expect("a folder");
    packages.iter().fold(Setup::default(), |setup, package| {
        let name = package.split('.').next().unwrap_or_default();
        let file = folder.join(name).with_extension("wasm");
        let component = components::changed(&component, "bench.v1", package);
        if std::fs::read(&file).ok().as_ref() != Some(&component) {
            std::fs::write(&file, component).expect("the folder is ours");
        }
        setup.and(name, &file)
    })
}

fn place(package: &str) -> Call {
    let mut call = Call::place();
    call.path = call.path.replace("bench.v1", package);
    call
}

/// A host whose plugins have all answered, and after how many seconds the last of them had.
fn started(setup: &Setup, calls: &[Call]) -> (Server, f64) {
    let began = Instant::now();
    let host = Server::mortise(setup);
    block_on(async {
        let client = Client::of_starting(host.address, &calls[0]).await;
        for call in calls {
            client.call(call).await.expect("it serves");
        }
    });
    (host, began.elapsed().as_secs_f64())
}
