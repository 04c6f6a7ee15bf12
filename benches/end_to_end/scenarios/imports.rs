//! Thousands of calls that wait in an import at once.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Context;
use crate::client::Client;
use crate::load::block_on;
use crate::pb::{WaitRequest, WaitResponse};
use crate::peers::{COMPONENT, FRESH};
use crate::report::{Bound, Scenario};
use crate::support::components;
use crate::support::server::{Server, Setup};

const CONNECTIONS: usize = 10;

/// Mappings that 10,000 sandboxes need, with room to spare.
const MAPPINGS_FOR_10_000: u64 = 200_000;

pub(super) fn run(context: &Context) -> Scenario {
    let component = components::build("compute");
    let mut counts = vec![if context.quick { 500 } else { 5000 }];
    let mut scenario = Scenario::new("imports", "calls that wait in an import at once");
    let mappings = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    match mappings.trim().parse() {
        Ok(0..MAPPINGS_FOR_10_000) | Err(_) => scenario.note(format!(
            "10,000 are not tried: vm.max_map_count is {}, under {MAPPINGS_FOR_10_000}",
            mappings.trim()
        )),
        Ok(_) if context.quick => {}
        Ok(_) => counts.push(10_000),
    }
    for count in counts {
        for (name, linking) in [(FRESH, "auto"), (COMPONENT, "component")] {
            let setup = Setup::of("compute", &component)
                .plugin_key(&format!("linking = {linking:?}"))
                .server_key(&format!("max_concurrent_calls = {count}"));
            let name = format!("{count} calls, {name}");
            let seconds = if context.quick { 3 } else { 15 };
            block_on(measure(
                &Server::mortise(&setup),
                &name,
                count,
                seconds,
                &mut scenario,
            ));
        }
    }
    scenario
}

async fn measure(host: &Server, name: &str, count: usize, seconds: u32, scenario: &mut Scenario) {
    let wait = |client: Client, milliseconds| async move {
        let response: WaitResponse = client
            .ask("/compute.v1.Compute/Wait", &WaitRequest { milliseconds })
            .await?;
        Ok::<_, crate::client::Failure>(response.waited >= u64::from(milliseconds))
    };
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(host.address).await);
    }
    for client in &clients {
        assert!(wait(client.clone(), 1).await.expect("an answer"));
    }
    let process = host.process();
    let (memory, threads) = (process.resident(), process.threads());
    let mut calls = JoinSet::new();
    let began = Instant::now();
    for client in clients.iter().cycle().take(count) {
        calls.spawn(wait(client.clone(), seconds * 1000));
    }
    while host.counted("mortise_calls_in_flight").await < count as f64 {
        if began.elapsed() >= Duration::from_secs(seconds.into()) {
            scenario.fail(format!("{name}: they did not all wait at once"));
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let used = process.resident().saturating_sub(memory);
    let grown = process.threads() as f64 - threads as f64;
    let outcomes = calls.join_all().await;
    let mut failed = outcomes.iter().filter(|outcome| !matches!(outcome, Ok(true)));
    if let Some(first) = failed.next() {
        let failures = 1 + failed.count();
        scenario.fail(format!(
            "{name}: {failures} calls were not answered, the first one: {first:?}"
        ));
    }
    let answered = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(true)))
        .count() as f64
        / count as f64;
    let each = used as f64 / count as f64 / 1e3;
    for (metric, value, bound) in [
        ("memory each, kB", each, Bound::AtMost(64.0)),
        ("more threads", grown, Bound::AtMost(0.0)),
        ("answered", answered, Bound::AtLeast(1.0)),
    ] {
        scenario.measured(name, metric, value);
        let spread = scenario.spread(name, metric);
        scenario.target("P7", format!("{name}: {metric}"), spread, bound);
    }
}
