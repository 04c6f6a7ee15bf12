//! How the processors are divided among plugins whose calls compute for long.

use std::fs;

use crate::in_both_modes;
use crate::support::live::{LiveFile, patched};
use crate::support::pb::faults::{EchoRequest, LoopRequest, SpinRequest};
use crate::support::{Isolation, Plugin, Setup, components, until_some};

in_both_modes!(
    a_flood_leaves_another_plugin_its_half_of_the_processors,
    a_method_that_was_brief_holds_up_no_other_call_of_its_connection,
);

async fn a_flood_leaves_another_plugin_its_half_of_the_processors(isolation: Isolation) {
    const FLOOD: usize = 40;
    const FEW: usize = 4;
    // The same service under another name, because each belongs to one plugin.
    let file = LiveFile::copy_of(&components().faults);
    let renamed = patched(&fs::read(&file.path).expect("a file"), "faults.v1", "others.v1");
    file.rename_over(&renamed);
    let few = Plugin::crafted("few", "others.v1.Faults", &file.path, isolation);
    let flood = Plugin::faults(isolation).named("flood");
    let host = Setup::of(flood)
        .and(few)
        .with("[server]\nworker_threads = 2")
        .start()
        .await;
    let client = host.raw().await;
    let flood = (0..FLOOD).map(|_| "/faults.v1.Faults/Loop");
    let few = (0..FEW).map(|_| "/others.v1.Faults/Loop");
    for path in flood.chain(few) {
        let client = client.clone();
        tokio::spawn(async move { client.abandoned(path, &LoopRequest {}).await });
    }
    let used = async || {
        let metrics = host.metrics().await;
        let of = |plugin| metrics.sum("mortise_guest_cpu_seconds_total", &[("plugin", plugin)]);
        (metrics.value("mortise_sandboxes", &[]), of("flood"), of("few"))
    };
    // From when all of them run, and none on the threads that serve.
    let (flood_before, few_before) = until_some("calls that compute", async || {
        let (sandboxes, flood, few) = used().await;
        (sandboxes == Some((FLOOD + FEW) as f64)).then_some((flood, few))
    })
    .await;
    let (flood, few) = until_some("half a second of a processor", async || {
        let (_, flood, few) = used().await;
        let (flood, few) = (flood - flood_before, few - few_before);
        (flood + few >= 0.5).then_some((flood, few))
    })
    .await;
    println!("{FLOOD} calls of one plugin had {flood:.2} s of the processors, {FEW} of another {few:.2} s");
    let share = few / (flood + few);
    assert!((0.4..=0.6).contains(&share), "{share}");
    client.close();
    host.stop().await;
}

async fn a_method_that_was_brief_holds_up_no_other_call_of_its_connection(isolation: Isolation) {
    const SPIN: &str = "/faults.v1.Faults/Spin";
    // So that there is no idle one to take calls from the connection's task.
    let host = Setup::of(Plugin::faults(isolation))
        .with("[server]\nworker_threads = 1")
        .start()
        .await;
    let client = host.raw().await;
    let brief = SpinRequest {
        milliseconds: 0,
        rounds: 1,
    };
    for _ in 0..20 {
        assert!(client.is_served(SPIN, &brief).await);
    }
    let endless = SpinRequest {
        milliseconds: u32::MAX,
        rounds: 0,
    };
    let caller = client.clone();
    tokio::spawn(async move { caller.abandoned(SPIN, &endless).await });
    host.until_metric("a call that computes", "mortise_sandboxes", 1.0)
        .await;
    for _ in 0..20 {
        let echo = EchoRequest::default();
        assert!(client.is_served("/faults.v1.Faults/Echo", &echo).await);
    }
    client.close();
    host.stop().await;
}
