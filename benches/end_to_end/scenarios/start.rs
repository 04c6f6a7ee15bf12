//! How soon a host serves, and what it needs while nobody calls.

use std::time::{Duration, Instant};

use super::Context;
use crate::client::{Call, Client};
use crate::load::block_on;
use crate::report::{Bound, Scenario};
use crate::support::server::Server;

const HOST: &str = "host with one plugin";
const START: &str = "start to first answer, ms";
const IDLE: &str = "idle memory, MB";

pub(super) fn run(context: &Context) -> Scenario {
    let mut scenario = Scenario::new("start", "a host whose one plugin was compiled before");
    let folder = tempfile::tempdir().expect("a folder");
    // The host makes it itself, private to the user.
    let setup = context.setup().cache(&folder.path().join("cache"));
    // The first one compiles.
    for round in 0..=context.rounds(20) {
        let began = Instant::now();
        let host = Server::mortise(&setup);
        block_on(Client::of_starting(host.address, &Call::place()));
        let took = began.elapsed();
        if round > 0 {
            std::thread::sleep(Duration::from_millis(300));
            scenario.measured(HOST, START, took.as_secs_f64() * 1e3);
            scenario.measured(HOST, IDLE, host.process().resident() as f64 / 1e6);
        }
    }
    let start = scenario.spread(HOST, START);
    scenario.target("P12", "start to first answer, ms", start, Bound::AtMost(50.0));
    let idle = scenario.spread(HOST, IDLE);
    scenario.target("P12", "idle memory, MB", idle, Bound::AtMost(30.0));
    scenario
}
