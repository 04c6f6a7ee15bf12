//! What a quiet caller notices of heavy ones: `cargo bench --bench neighbours`.
//!
//! One caller makes small calls, one after another with a pause, to a host with two worker threads: first
//! alone, then beside each kind of heavy call, alone again in between. Its p99 must stay within twice what it
//! was alone, or within 2 ms, whichever is more: the run fails if it does not. The kinds are every fault of the tests'
//! table, and calls that only compute. Callers and host share the machine, and machines are shared with others: a kind
//! that misses the bound is measured anew up to twice, and counts if it misses it each time. The quiet caller has a
//! thread of its own, and all others a lower priority, so that what it notices is the host's doing: a caller on a
//! machine of its own waits for no processor.
//!
//! Words after `--` choose the kinds whose names have one of them. `--quick` measures for a moment only, to see that
//! it works, and fails for nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};

/// What benchmarks share, and what they have from the tests.
#[allow(dead_code)]
mod support {
    pub(crate) mod components;
    #[path = "../../tests/support/crafted.rs"]
    pub(crate) mod crafted;
    pub(crate) mod process;
    #[path = "../../tests/support/raw.rs"]
    pub(crate) mod raw;
    pub(crate) mod server;

    /// Clients and messages of plugins.
    pub(crate) mod pb {
        /// Of the plugin of faults.
        pub(crate) mod faults {
            #![allow(missing_docs, unreachable_pub, clippy::all)]
            include!(concat!(env!("OUT_DIR"), "/faults.v1.rs"));
        }
    }

    /// The outcome of `work`, which must end.
    pub(crate) async fn within_patience<F: Future>(what: &str, work: F) -> F::Output {
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
        let ended = tokio::time::timeout(PATIENCE, work).await;
        ended.unwrap_or_else(|_| panic!("after {PATIENCE:?} still waiting: {what}"))
    }
}

#[allow(dead_code, unused_imports)]
#[path = "../tests/host/fault_matrix/table/mod.rs"]
mod table;

use support::components;
use support::pb::faults as pb;
use support::pb::faults::faults_client::FaultsClient;
use support::raw::{RawClient, framed};
use support::server::{Server, Setup};

/// Between two calls of any caller.
const PAUSE: Duration = Duration::from_millis(1);

const BOUND: Duration = Duration::from_millis(2);

/// How often a kind is measured until it is within the bound.
const ATTEMPTS: usize = 3;

/// Of the host and of the callers of faults, below the quiet one: as `nice` counts.
const LOWER: i32 = 10;

/// Callers of a fault.
const FEW: usize = 8;
const MANY: usize = 50;

/// A kind of heavy call, and how many callers make it, each again and again.
struct Heavy {
    name: String,
    callers: usize,
    path: String,
    /// Framed.
    request: Bytes,
    /// `grpc-timeout`.
    timeout: &'static str,
}

impl Heavy {
    /// Of the plugin of faults.
    fn new(name: &str, callers: usize, method: &str, request: &impl prost::Message) -> Self {
        Self {
            name: format!("{callers} {name}"),
            callers,
            path: format!("/faults.v1.Faults/{method}"),
            request: framed(request),
            timeout: "1H",
        }
    }
}

/// Every kind. Those that only compute end by themselves, or are cut off when the measurement ends.
async fn kinds(host: &Server) -> Vec<Heavy> {
    let endless = |callers| Heavy::new("endless loops", callers, "Loop", &pb::LoopRequest {});
    let mut kinds = vec![endless(MANY), endless(10 * MANY)];
    for milliseconds in [3, 30] {
        let rounds = rounds(host, milliseconds).await;
        let request = pb::SpinRequest {
            milliseconds: 0,
            rounds,
        };
        let name = format!("callers that compute for {milliseconds} ms");
        kinds.push(Heavy::new(&name, MANY, "Spin", &request));
    }
    let callers = |fault: &table::Fault| if fault.ends == table::LATE { MANY } else { FEW };
    let faults = table::faults().into_iter().map(|fault| Heavy {
        name: format!("{} × {}", callers(&fault), fault.what),
        callers: callers(&fault),
        path: fault.path,
        request: fault.body,
        timeout: fault.timeout,
    });
    kinds.extend(faults);
    kinds
}

/// How much the guest computes in some time, while nothing else runs. Asked to compute for that time beside others, it
/// would compute the less the more it waits for them.
async fn rounds(host: &Server, milliseconds: u32) -> u64 {
    let request = pb::SpinRequest {
        milliseconds,
        rounds: 0,
    };
    let answer = FaultsClient::new(connect(host.address).await).spin(request).await;
    answer.expect("an answer").get_ref().rounds
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    // Cargo adds an option of its own.
    let words: Vec<_> = arguments.iter().filter(|word| !word.starts_with("--")).collect();
    let time = Duration::from_millis(if quick { 200 } else { 2000 });
    let quiet = Quiet::start();
    // Threads and processes have that of the thread that starts them.
    rustix::process::nice(LOWER).expect("any thread may lower itself");
    let folder = tempfile::tempdir().expect("a folder");
    let host = start(folder.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut kinds = runtime.block_on(kinds(&host));
    kinds.retain(|kind| words.is_empty() || words.iter().any(|word| kind.name.contains(*word)));
    let missed = runtime.block_on(measure_all(&quiet, &host, &kinds, time));
    println!(
        "\n{} of {} kinds over the bound{}",
        missed.len(),
        kinds.len(),
        names(&missed)
    );
    if missed.is_empty() || quick {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn names(missed: &[&str]) -> String {
    let names = missed.iter().map(|name| format!("\n- {name}"));
    names.collect()
}

/// A host with every plugin of the table.
fn start(folder: &Path) -> Server {
    let setup = Setup::of("faults", &components::build("faults")).server_key("worker_threads = 2");
    let by_hand = table::plugins_by_hand(folder).into_iter();
    Server::mortise(&by_hand.fold(setup, |setup, plugin| setup.and(&plugin.name, &plugin.file)))
}

/// The kinds of heavy calls that cost the quiet caller more than the bound.
async fn measure_all<'k>(quiet: &Quiet, host: &Server, kinds: &'k [Heavy], time: Duration) -> Vec<&'k str> {
    // The first calls warm the host up.
    quiet.measure(host.address, time).await;
    println!("| beside | their CPU per call | alone p50 | p99 | beside p50 | p99 | within the bound |");
    println!("|---|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    for kind in kinds {
        let mut attempts = 1;
        while !is_within_the_bound(quiet, host, kind, time).await {
            if attempts == ATTEMPTS {
                missed.push(kind.name.as_str());
                break;
            }
            attempts += 1;
        }
    }
    missed
}

async fn is_within_the_bound(quiet: &Quiet, host: &Server, kind: &Heavy, time: Duration) -> bool {
    let alone = quiet.measure(host.address, time).await;
    let raw = raw(host.address).await;
    let ended = Arc::new(AtomicU32::new(0));
    let heavy: Vec<_> = (0..kind.callers)
        .map(|_| tokio::spawn(repeat(kind, raw.clone(), ended.clone())))
        .collect();
    tokio::time::sleep(time / 10).await;
    let (cpu, calls) = (host.process().cpu_time(), ended.load(Ordering::Relaxed));
    let beside = quiet.measure(host.address, time).await;
    let calls = ended.load(Ordering::Relaxed) - calls;
    let cpu = match calls {
        0 => "no end".to_owned(),
        calls => format!("{:.2?}", (host.process().cpu_time() - cpu) / calls),
    };
    for caller in heavy {
        caller.abort();
    }
    let within = beside.p99 <= (2 * alone.p99).max(BOUND);
    println!(
        "| {} | {cpu} | {:.2?} | {:.2?} | {:.2?} | {:.2?} | {} |",
        kind.name,
        alone.p50,
        alone.p99,
        beside.p50,
        beside.p99,
        if within { "yes" } else { "no" }
    );
    // What was cancelled has a moment to go.
    tokio::time::sleep(Duration::from_millis(200)).await;
    within
}

/// Calls again and again, with a pause, however it ends, and counts. Without the pause the cheapest faults would be a
/// flood that takes all processors, of which `overload` tells what it does; and so would refusals, after which a caller
/// waits for as long as it is told to.
fn repeat(kind: &Heavy, raw: RawClient, ended: Arc<AtomicU32>) -> impl Future<Output = ()> + use<> {
    let (path, request, timeout) = (kind.path.clone(), kind.request.clone(), kind.timeout);
    async move {
        loop {
            let answer = raw
                .call(&path, &[("grpc-timeout", timeout)], request.clone())
                .await;
            let told = answer.headers.get("grpc-retry-pushback-ms");
            let told = told.and_then(|told| told.to_str().ok()?.parse().ok());
            if told.is_none() {
                ended.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(told.map_or(PAUSE, Duration::from_millis)).await;
        }
    }
}

struct Latency {
    p50: Duration,
    p99: Duration,
}

/// The thread of the quiet caller.
struct Quiet {
    measurements: mpsc::Sender<(SocketAddr, Duration, oneshot::Sender<Latency>)>,
}

impl Quiet {
    fn start() -> Self {
        let (measurements, asked) = mpsc::channel::<(_, _, oneshot::Sender<_>)>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            for (address, time, answer) in asked {
                let _ = answer.send(runtime.block_on(call_again_and_again(address, time)));
            }
        });
        Self { measurements }
    }

    /// What a call takes, as its caller sees it.
    async fn measure(&self, address: SocketAddr, time: Duration) -> Latency {
        let (answer, answered) = oneshot::channel();
        let asked = self.measurements.send((address, time, answer));
        asked.expect("its thread waits");
        answered.await.expect("no panic")
    }
}

async fn call_again_and_again(address: SocketAddr, time: Duration) -> Latency {
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

/// A connection for calls of any kind.
async fn raw(address: SocketAddr) -> RawClient {
    let stream = TcpStream::connect(address).await.expect("the host listens");
    stream.set_nodelay(true).expect("it is open");
    RawClient::over(stream, address).await
}
