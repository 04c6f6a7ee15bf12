//! What a quiet caller notices of heavy ones: `cargo bench --bench neighbours`.
//!
//! One caller makes small calls, one after another with a pause, to a host with two worker threads: first
//! alone, then beside each kind of heavy call, alone again in between. Its p99 must stay within twice what it
//! was alone, or within 2 ms, whichever is more. Callers and host share the machine, so the figures hold
//! only for a machine that does nothing else.
//!
//! `--quick` measures for a moment only, to see that it works.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};

mod support;

/// Client and messages of the plugin of faults.
mod pb {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/faults.v1.rs"));
}

use pb::faults_client::FaultsClient;
use pb::misbehave_request::Way;
use support::components;
use support::server::{Server, Setup};

/// Between two calls of the quiet caller.
const PAUSE: Duration = Duration::from_millis(1);

const BOUND: Duration = Duration::from_millis(2);

/// A kind of heavy call, and how many callers make it, each again and again.
#[derive(Debug, Clone, Copy)]
enum Heavy {
    Loops,
    LoopsInCalls,
    ImportFloods,
    /// Computing for so many milliseconds, on a processor of its own.
    Spins(u32),
    MemoryEaters,
    LogFloods,
    EventFloods,
    Traps,
    HugeAnswers,
}

const KINDS: &[(&str, Heavy, usize)] = &[
    ("50 endless loops", Heavy::Loops, 50),
    ("500 endless loops", Heavy::Loops, 500),
    ("50 loops many calls deep", Heavy::LoopsInCalls, 50),
    ("50 floods of cheap imports", Heavy::ImportFloods, 50),
    ("50 callers that compute for 3 ms", Heavy::Spins(3), 50),
    ("50 callers that compute for 30 ms", Heavy::Spins(30), 50),
    ("8 callers that eat memory", Heavy::MemoryEaters, 8),
    ("8 callers that flood the log", Heavy::LogFloods, 8),
    ("8 callers that flood events", Heavy::EventFloods, 8),
    ("8 callers that recurse without end", Heavy::Traps, 8),
    ("8 callers that answer too much", Heavy::HugeAnswers, 8),
];

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let time = Duration::from_millis(if quick { 200 } else { 5000 });
    let component = components::build("faults");
    let setup = Setup::of("faults", &component).server_key("worker_threads = 2");
    let host = Server::mortise(&setup);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let exceeded = runtime.block_on(measure_all(&host, time));
    println!("\n{exceeded} of {} over the bound", KINDS.len());
}

/// How many kinds of heavy calls cost the quiet caller more than the bound.
async fn measure_all(host: &Server, time: Duration) -> usize {
    let address = host.address;
    // The first calls warm the host up.
    measure(address, time / 5).await;
    println!("| beside | their CPU per call | alone p50 | p99 | beside p50 | p99 | within the bound |");
    println!("|---|---|---|---|---|---|---|");
    let mut exceeded = 0;
    for (name, heavy, callers) in KINDS {
        let alone = measure(address, time).await;
        let channel = connect(address).await;
        let rounds = heavy.rounds(channel.clone()).await;
        let ended = Arc::new(AtomicU32::new(0));
        let heavy: Vec<_> = (0..*callers)
            .map(|_| tokio::spawn(heavy.repeat(rounds, channel.clone(), ended.clone())))
            .collect();
        tokio::time::sleep(time / 10).await;
        let (cpu, calls) = (host.process().cpu_time(), ended.load(Ordering::Relaxed));
        let beside = measure(address, time).await;
        let calls = ended.load(Ordering::Relaxed) - calls;
        let cpu = match calls {
            0 => "no end".to_owned(),
            calls => format!("{:.2?}", (host.process().cpu_time() - cpu) / calls),
        };
        for caller in heavy {
            caller.abort();
        }
        let within = beside.p99 <= (2 * alone.p99).max(BOUND);
        exceeded += usize::from(!within);
        println!(
            "| {name} | {cpu} | {:.2?} | {:.2?} | {:.2?} | {:.2?} | {} |",
            alone.p50,
            alone.p99,
            beside.p50,
            beside.p99,
            if within { "yes" } else { "no" }
        );
        // What was cancelled has a moment to go.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    exceeded
}

struct Latency {
    p50: Duration,
    p99: Duration,
}

/// What a call takes, as its caller sees it.
async fn measure(address: SocketAddr, time: Duration) -> Latency {
    let mut client = FaultsClient::new(connect(address).await);
    let mut took = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time {
        let call = Instant::now();
        let payload = b"quiet".to_vec();
        let answer = client.echo(pb::EchoRequest { payload }).await.expect("an answer");
        took.push(call.elapsed());
        assert_eq!(answer.get_ref().payload, b"quiet");
        tokio::time::sleep(PAUSE).await;
    }
    took.sort();
    Latency {
        p50: took[took.len() / 2],
        p99: took[took.len() * 99 / 100],
    }
}

async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("the host listens")
}

impl Heavy {
    /// How much the guest computes in the time that it is to compute for, while nothing else runs. Asked to
    /// compute for some time beside others, it would compute the less the more it waits for them.
    async fn rounds(self, channel: Channel) -> u64 {
        let Self::Spins(milliseconds) = self else {
            return 0;
        };
        let request = pb::SpinRequest {
            milliseconds,
            rounds: 0,
        };
        let answer = FaultsClient::new(channel).spin(request).await;
        answer.expect("an answer").get_ref().rounds
    }

    /// Counts the calls that have ended.
    async fn repeat(self, rounds: u64, channel: Channel, ended: Arc<AtomicU32>) {
        let mut client = FaultsClient::new(channel).max_decoding_message_size(64 << 20);
        let misbehave = |way: Way| pb::MisbehaveRequest { way: way.into() };
        loop {
            // However it ends.
            match self {
                Self::Loops => drop(client.r#loop(pb::LoopRequest {}).await),
                Self::LoopsInCalls => drop(client.misbehave(misbehave(Way::LoopInCalls)).await),
                Self::ImportFloods => drop(client.misbehave(misbehave(Way::FloodImports)).await),
                Self::Spins(milliseconds) => {
                    let request = pb::SpinRequest { milliseconds, rounds };
                    drop(client.spin(request).await);
                }
                Self::MemoryEaters => drop(client.eat_memory(pb::EatMemoryRequest { abort: true }).await),
                Self::LogFloods => {
                    let text = "wet".repeat(100);
                    let lines = 5000;
                    let unfinished = false;
                    drop(
                        client
                            .print(pb::PrintRequest {
                                lines,
                                text,
                                unfinished,
                            })
                            .await,
                    );
                }
                Self::EventFloods => drop(client.misbehave(misbehave(Way::FloodEvents)).await),
                Self::Traps => drop(client.recurse(pb::RecurseRequest {}).await),
                Self::HugeAnswers => {
                    drop(
                        client
                            .huge_answer(pb::HugeAnswerRequest { bytes: 11 << 20 })
                            .await,
                    );
                }
            }
            ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}
