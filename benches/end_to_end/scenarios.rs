//! What is measured, each under a name of its own.

mod calls;
mod computing;
mod guard;
mod imports;
mod latency;
mod many_plugins;
mod payloads;
mod reload;
mod start;
mod swaps;

use std::path::PathBuf;
use std::time::Duration;

use crate::load::block_on;
use crate::report::Scenario;
use crate::support::server::{Server, Setup};

/// Measures one thing.
type Run = fn(&Context) -> Scenario;

/// In the order in which they run. Those that are not ordinary run only if they are named.
pub(crate) const ALL: &[(&str, bool, Run)] = &[
    ("calls", true, calls::run),
    ("latency", true, latency::run),
    ("payloads", true, payloads::run),
    ("computing", true, computing::run),
    ("start", true, start::run),
    ("imports", true, imports::run),
    ("plugins", true, many_plugins::run),
    ("swaps", true, swaps::run),
    ("reload", true, reload::run),
    ("guard", false, guard::run),
];

/// What scenarios share.
pub(crate) struct Context {
    pub(crate) quick: bool,
    /// The component of `plugins/bench`.
    pub(crate) bench: PathBuf,
}

impl Context {
    /// A host with the benchmark's plugin.
    fn setup(&self) -> Setup {
        Setup::of("bench", &self.bench)
    }

    /// Rounds to count, after one that fills caches and pools.
    fn rounds(&self, rounds: usize) -> usize {
        if self.quick { 1 } else { rounds }
    }

    fn time(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(if self.quick { seconds.min(0.5) } else { seconds })
    }
}

/// An ordinary call must not make its guest ask for memory, which would cost more than the rest of it.
fn check_growths(scenario: &mut Scenario, name: &str, server: &Server) {
    let growths = block_on(server.counted("mortise_guest_memory_growths_total"));
    if growths > 0.0 {
        scenario.fail(format!("{name}: guests grew their memory {growths} times"));
    }
}
