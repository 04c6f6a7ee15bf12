//! How soon a call ends whose caller goes away, while its guest loops: `cargo bench --bench interrupts`.
//!
//! A host has as many places as loops run in it. One more call waits for a place; then one of the loops is
//! cancelled, and the time is taken until that call is answered. It must be less than 10 ms. At last a thousand
//! loops are cancelled at once, after which the host must be idle. The figures hold only for a machine that
//! does nothing else.
//!
//! `--quick` measures a few times only, to see that it works.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

mod support;

/// Client and messages of the plugin of faults.
mod pb {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/faults.v1.rs"));
}

use pb::faults_client::FaultsClient;
use support::components;
use support::server::{Server, Setup};

const BOUND: Duration = Duration::from_millis(10);

/// For a loop to use up its first slices and to go on in the background.
const SETTLE: Duration = Duration::from_millis(20);

const MANY: usize = 1000;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let times = if quick { 5 } else { 200 };
    let component = components::build("faults");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("| sandbox | loops | p50 | p99 | longest | within {BOUND:?} |\n|---|---|---|---|---|---|");
    for isolation in ["call", "reuse"] {
        for loops in [1, 100] {
            let host = start(&component, isolation, loops);
            let mut took = runtime.block_on(cancel_one_by_one(&host, loops, times));
            took.sort();
            let (p50, p99, longest) = (took[times / 2], took[times * 99 / 100], took[times - 1]);
            let within = if longest <= BOUND { "yes" } else { "no" };
            println!("| {isolation} | {loops} | {p50:.2?} | {p99:.2?} | {longest:.2?} | {within} |");
        }
    }
    println!(
        "\n| sandbox | loops cancelled at once | a call is answered after | CPU of the second after that | of the next |"
    );
    println!("|---|---|---|---|---|");
    for isolation in ["call", "reuse"] {
        let host = start(&component, isolation, MANY);
        let (answered, [cleaning, after]) = runtime.block_on(cancel_all(&host));
        println!("| {isolation} | {MANY} | {answered:.2?} | {cleaning:.2?} | {after:.2?} |");
    }
}

/// A host with so many places.
fn start(component: &std::path::Path, isolation: &str, places: usize) -> Server {
    let setup = Setup::of("faults", component)
        .plugin_key(&format!("isolation = {isolation:?}"))
        .server_key("worker_threads = 2")
        .server_key(&format!("max_concurrent_calls = {places}"))
        .server_key("max_queued_calls = 1")
        .server_key(&format!("max_streams_per_connection = {}", 2 * MANY));
    Server::mortise(&setup)
}

async fn cancel_one_by_one(host: &Server, loops: usize, times: usize) -> Vec<Duration> {
    let channel = connect(host).await;
    // One that goes on in the background only after its slices lets the others wait until then.
    let others: Vec<_> = (1..loops).map(|_| looping(&channel)).collect();
    tokio::time::sleep(SETTLE * others.len() as u32).await;
    let mut took = Vec::new();
    for _ in 0..times {
        let doomed = looping(&channel);
        tokio::time::sleep(SETTLE).await;
        let waiting = tokio::spawn(call(channel.clone()));
        tokio::time::sleep(SETTLE).await;
        let cancelled = Instant::now();
        doomed.abort();
        waiting.await.expect("no panic");
        took.push(cancelled.elapsed());
    }
    took
}

/// When a call is answered, and what the host computes in each of the two seconds from then on.
async fn cancel_all(host: &Server) -> (Duration, [Duration; 2]) {
    let channel = connect(host).await;
    let loops: Vec<_> = (0..MANY).map(|_| looping(&channel)).collect();
    // Each has had several turns.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let waiting = tokio::spawn(call(channel));
    tokio::time::sleep(SETTLE).await;
    let cancelled = Instant::now();
    loops.iter().for_each(JoinHandle::abort);
    waiting.await.expect("no panic");
    let answered = cancelled.elapsed();
    let second = async || {
        let before = host.process().cpu_time();
        tokio::time::sleep(Duration::from_secs(1)).await;
        host.process().cpu_time() - before
    };
    (answered, [second().await, second().await])
}

fn looping(channel: &Channel) -> JoinHandle<()> {
    let mut client = FaultsClient::new(channel.clone());
    tokio::spawn(async move { drop(client.r#loop(pb::LoopRequest {}).await) })
}

async fn call(channel: Channel) {
    let answer = FaultsClient::new(channel).count(pb::CountRequest {}).await;
    answer.expect("an answer");
}

async fn connect(host: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", host.address)).expect("an address");
    let channel = endpoint.connect().await.expect("the host listens");
    // A host that has just been started answers when its plugins are loaded.
    call(channel.clone()).await;
    channel
}
