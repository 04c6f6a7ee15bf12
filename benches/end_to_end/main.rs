//! What a sandbox costs, from client to client: `cargo bench --bench end_to_end`.
//!
//! The same handler behind three servers, one after another in each round, under the same load from this
//! process: a plain tonic server, Mortise with a fresh sandbox for every call, and Mortise with reused ones.
//! Every answer is checked. What counts are the ratios within one run; absolute figures change with the
//! machine and its load. The server's CPU time per call comes from the system's own accounting and does
//! not include the client's work.
//!
//! `--quick` runs one short round, to see that it works.

mod load;
mod native;
// Other benchmarks do more with a server.
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;

use std::time::Duration;

use load::Load;
use server::Server;

/// Connections, calls in flight on each, and how long one server is loaded in one round.
const CONNECTIONS: usize = 4;
const CALLS_PER_CONNECTION: usize = 25;

struct Sample {
    calls_per_second: f64,
    cpu_micros_per_call: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|argument| argument == native::ARGUMENT)
    {
        return native::serve();
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let (rounds, time) = if quick {
        (1, Duration::from_millis(500))
    } else {
        (7, Duration::from_secs(2))
    };

    let component = server::build_component("bench");
    let servers = [
        ("native tonic", native::start()),
        (
            "plugin, fresh sandbox per call",
            Server::mortise(&[("bench", component.as_path())], "call", ""),
        ),
        (
            "plugin, sandboxes reused",
            Server::mortise(&[("bench", component.as_path())], "reuse", ""),
        ),
    ];
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut samples: Vec<Vec<Sample>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (samples, (_, server)) in samples.iter_mut().zip(&servers) {
            let sample = runtime.block_on(measure(server, time));
            // The first round fills caches and pools.
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    print_table(&servers.each_ref().map(|(name, _)| *name), &samples);
}

async fn measure(server: &Server, time: Duration) -> Sample {
    let cpu_before = server.cpu_time();
    let load = Load::run(server.address, CONNECTIONS, CALLS_PER_CONNECTION, time).await;
    let cpu = server.cpu_time() - cpu_before;
    Sample {
        calls_per_second: load.calls as f64 / load.elapsed.as_secs_f64(),
        cpu_micros_per_call: cpu.as_secs_f64() * 1e6 / load.calls as f64,
    }
}

fn print_table(names: &[&str], samples: &[Vec<Sample>]) {
    println!(
        "{} connections x {} calls in flight, medians of {} rounds; ratios are to native tonic\n",
        CONNECTIONS,
        CALLS_PER_CONNECTION,
        samples[0].len()
    );
    println!("| server | calls/s | ratio | server CPU per call | ratio |\n|---|---|---|---|---|");
    let throughput = |samples: &[Sample]| median(samples.iter().map(|sample| sample.calls_per_second));
    let cpu = |samples: &[Sample]| median(samples.iter().map(|sample| sample.cpu_micros_per_call));
    let (native_throughput, native_cpu) = (throughput(&samples[0]), cpu(&samples[0]));
    for (name, samples) in names.iter().zip(samples) {
        let (throughput, cpu) = (throughput(samples), cpu(samples));
        println!(
            "| {name} | {throughput:.0} | {:.2} | {cpu:.1} us | {:.2} |",
            throughput / native_throughput,
            cpu / native_cpu
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
