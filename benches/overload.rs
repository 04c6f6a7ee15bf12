//! What is left of a host under more load than it can serve: `cargo bench --bench overload`.
//!
//! First as many callers as keep it busy, each waiting for its answer, find out how many calls it serves in a
//! second. Then calls come at once, twice and five times that rate, whether or not earlier ones are answered, as
//! the callers of a service on the internet do. Goodput is the answers that are OK and come in time. It must
//! stay at 0.9 of the peak. Callers and host share the machine, so each call is made to cost the host much more
//! than its caller.
//!
//! `--quick` measures for a moment only, to see that it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tonic::Code;
use tonic::transport::{Channel, Endpoint};

// Other benchmarks measure more of a server.
#[allow(dead_code)]
#[path = "support/server.rs"]
mod server;

/// Client and messages of the plugin of faults.
mod pb {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/faults.v1.rs"));
}

use pb::faults_client::FaultsClient;
use server::Server;

/// What callers allow for each call.
const DEADLINE: Duration = Duration::from_millis(500);
const BUSY_CALLERS: usize = 32;
/// Between two bursts of calls.
const BURST: Duration = Duration::from_millis(2);
const FACTORS: [u32; 3] = [1, 2, 5];
const BOUND: f64 = 0.9;

/// What a call does.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// So many rounds, which take about 3 ms of a processor.
    Compute { rounds: u64 },
    /// Waits for 20 ms, of which a host with few slots has no more than those.
    Wait,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let time = Duration::from_millis(if quick { 500 } else { 10_000 });
    let component = server::build_component("faults");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "| calls that | peak | load | offered | goodput | of peak | refused | late |\n|---|---|---|---|---|---|---|---|"
    );
    let mut missed = 0;
    for (name, keys, compute) in [
        ("compute for 3 ms", "worker_threads = 2", true),
        (
            "wait for 20 ms, 10 at once",
            "worker_threads = 2\nmax_concurrent_calls = 10",
            false,
        ),
    ] {
        let host = Server::mortise("faults", &component, "call", keys);
        missed += runtime.block_on(async {
            let channel = connect(&host).await;
            let work = if compute {
                Work::computing(channel.clone()).await
            } else {
                Work::Wait
            };
            measure(name, &channel, work, time).await
        });
    }
    println!("\n{missed} of {} below {BOUND} of the peak", 2 * FACTORS.len());
}

/// How many of the loads left less goodput than they should.
async fn measure(name: &str, channel: &Channel, work: Work, time: Duration) -> usize {
    let peak = closed(channel, work, time).await;
    let mut missed = 0;
    for factor in FACTORS {
        let tally = open(channel, work, peak * f64::from(factor), time).await;
        let per_second = |count: &AtomicU32| f64::from(count.load(Ordering::Relaxed)) / time.as_secs_f64();
        let goodput = per_second(&tally.good);
        let ratio = goodput / peak;
        missed += usize::from(ratio < BOUND);
        println!(
            "| {name} | {peak:.0}/s | {factor}x | {:.0}/s | {goodput:.0}/s | {ratio:.2} | {:.0}/s | {:.0}/s |",
            per_second(&tally.sent),
            per_second(&tally.refused),
            per_second(&tally.late),
        );
        // What is still under way must not count for the next.
        tokio::time::sleep(2 * DEADLINE).await;
    }
    missed
}

/// Calls a second that busy callers get served.
async fn closed(channel: &Channel, work: Work, time: Duration) -> f64 {
    let tally = Arc::new(Tally::default());
    let callers: Vec<_> = (0..BUSY_CALLERS)
        .map(|_| {
            let (channel, tally) = (channel.clone(), tally.clone());
            tokio::spawn(async move {
                loop {
                    work.call(channel.clone(), &tally).await;
                }
            })
        })
        .collect();
    // The host learns what the calls are like.
    tokio::time::sleep(time / 5).await;
    let before = tally.good.load(Ordering::Relaxed);
    tokio::time::sleep(time).await;
    let good = tally.good.load(Ordering::Relaxed) - before;
    for caller in callers {
        caller.abort();
    }
    f64::from(good) / time.as_secs_f64()
}

/// `rate` calls a second, whatever becomes of them.
async fn open(channel: &Channel, work: Work, rate: f64, time: Duration) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let started = Instant::now();
    let mut ticks = tokio::time::interval(BURST);
    while started.elapsed() < time {
        ticks.tick().await;
        let due = (started.elapsed().as_secs_f64() * rate) as u32;
        for _ in tally.sent.load(Ordering::Relaxed)..due {
            tally.sent.fetch_add(1, Ordering::Relaxed);
            let (channel, tally) = (channel.clone(), tally.clone());
            tokio::spawn(async move { work.call(channel, &tally).await });
        }
    }
    tally
}

/// How calls ended.
#[derive(Default)]
struct Tally {
    sent: AtomicU32,
    good: AtomicU32,
    refused: AtomicU32,
    late: AtomicU32,
}

impl Work {
    async fn computing(channel: Channel) -> Self {
        let request = pb::SpinRequest {
            milliseconds: 3,
            rounds: 0,
        };
        let answer = FaultsClient::new(channel).spin(request).await.expect("an answer");
        Self::Compute {
            rounds: answer.get_ref().rounds,
        }
    }

    async fn call(self, channel: Channel, tally: &Tally) {
        let mut client = FaultsClient::new(channel);
        let began = Instant::now();
        let ended = match self {
            Self::Compute { rounds } => {
                let mut request = tonic::Request::new(pb::SpinRequest {
                    milliseconds: 3,
                    rounds,
                });
                request.set_timeout(DEADLINE);
                client.spin(request).await.map(drop)
            }
            Self::Wait => {
                let mut request = tonic::Request::new(pb::SleepRequest { milliseconds: 20 });
                request.set_timeout(DEADLINE);
                client.sleep(request).await.map(drop)
            }
        };
        let count = match ended {
            Ok(()) if began.elapsed() <= DEADLINE => &tally.good,
            Err(status) if status.code() == Code::Unavailable => &tally.refused,
            _ => &tally.late,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn connect(host: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", host.address)).expect("an address");
    endpoint.connect().await.expect("the host listens")
}
