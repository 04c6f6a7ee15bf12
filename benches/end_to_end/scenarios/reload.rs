//! From a saved file to the first call on new code, in `mortise serve` and in `mortise dev`.

mod dev;

use std::time::{Duration, Instant};

use super::Context;
use crate::client::{Call, Client};
use crate::load::{Callers, block_on, during, paced, paced_until, saturate};
use crate::pb::{GetVariantRequest, Variant};
use crate::report::{Bound, Compared, Scenario};
use crate::support::components;
use crate::support::server::{Server, Setup};

const STEADY: &str = "serve, nothing changes";
const UNSEEN: &str = "serve, not seen before";
const SEEN: &str = "serve, seen before";
const FIRST: &str = "saved to first call on new code, ms";
const P99: &str = "p99 of calls meanwhile, us";

pub(super) fn run(context: &Context) -> Scenario {
    let component = std::fs::read(&context.bench).expect("it was built");
    let title = format!("a component of {} kB is replaced", component.len() / 1000);
    let mut scenario = Scenario::new("reload", &title);
    for _ in 0..context.rounds(3) {
        serve(context, &component, &mut scenario);
    }
    dev::run(context, &mut scenario);
    for (name, most) in [(UNSEEN, 200.0), (SEEN, 5.0)] {
        let first = scenario.spread(name, FIRST);
        scenario.target("P6", format!("{name}: {FIRST}"), first, Bound::AtMost(most));
        let p99 = scenario.compared(Compared::Ratio, name, STEADY, P99);
        let what = format!("{name}: p99 of calls meanwhile, of the steady one");
        scenario.target("P6", what, p99, Bound::AtMost(1.5));
    }
    scenario
}

/// With calls at a third of what the host takes.
fn serve(context: &Context, component: &[u8], scenario: &mut Scenario) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bench.wasm");
    components::replace(&file, &components::variant(component, 0));
    let host = Server::mortise(&Setup::of("bench", &file));
    let call = Call::place();
    let calls = std::slice::from_ref(&call);
    let full = saturate(&host, calls, Callers::MANY, context.time(1.0)).checked();
    let rate = full.calls_per_second() / 3.0;
    let steady = paced(&host, &call, rate, context.time(3.0)).checked();
    scenario.measured(STEADY, P99, steady.latency(0.99));
    // Each variant is not seen before the first time, and seen the second time.
    for name in [UNSEEN, SEEN] {
        let mut swap = async || {
            let client = Client::connect(host.address).await;
            for number in 1..=if context.quick { 2 } else { 10 } {
                components::replace(&file, &components::variant(component, number));
                let took = until_live(&client, number, Instant::now()).await;
                scenario.measured(name, FIRST, took.as_secs_f64() * 1e3);
            }
        };
        let ((), meanwhile) = during(
            || block_on(swap()),
            |until| paced_until(&host, &call, rate, until).checked(),
        );
        scenario.measured(name, P99, meanwhile.latency(0.99));
    }
}

/// Calls until the variant answers.
async fn until_live(client: &Client, number: usize, saved: Instant) -> Duration {
    loop {
        let request = GetVariantRequest {};
        let variant: Variant = client
            .ask("/bench.v1.Bench/GetVariant", &request)
            .await
            .expect("an answer");
        if variant.name == components::variant_name(number) {
            return saved.elapsed();
        }
        assert!(saved.elapsed() < Duration::from_secs(60), "it does not turn live");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
