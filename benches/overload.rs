//! What is left of a host under more load than it can serve: `cargo bench --bench overload`.
//!
//! Host and callers have a processor each, because callers are elsewhere when it matters: what it costs to make a
//! call and to take its refusal must not be taken from the host, nor lent to it while there are few.
//!
//! 1. As many callers as keep the host busy, each waiting for its answer, find out how many calls it serves in
//!    a second. Then calls come at once, twice and five times that rate, whether or not earlier ones are
//!    answered, as those of a service on the internet do. Goodput is the answers that are OK and come in
//!    time. It must stay at 0.9 of the peak.
//! 2. A few callers make calls that compute to one plugin, alone and while another plugin is flooded with five
//!    times the calls that it can serve. Half of what is served then must be theirs, to within a tenth.
//! 3. What a refused call costs the host, beside one that is served and does nothing.
//!
//! `--quick` measures for a moment only, to see that it works.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

mod support;

/// Messages of the plugin of faults.
mod pb {
    #![allow(missing_docs, unreachable_pub, dead_code, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/faults.v1.rs"));
}

use support::components;
use support::process::Process;
use support::server::{Server, Setup};

/// What callers allow for each call.
const DEADLINE: Duration = Duration::from_millis(500);
/// Of calls that measure nothing.
const PATIENCE: Duration = Duration::from_secs(60);
const BUSY_CALLERS: usize = 32;
const FEW_CALLERS: usize = 4;
/// Between two bursts of calls.
const BURST: Duration = Duration::from_millis(2);
const FACTORS: [u32; 3] = [1, 2, 5];
const BOUND: f64 = 0.9;
/// Of one plugin of two.
const FAIR_PART: f64 = 0.45;

/// The package of the plugin of faults, and that of a copy of it under another name. They are of one length.
const FAULTS: &str = "faults.v1";
const BESIDE: &str = "others.v1";

const HOST_PROCESSOR: u32 = 0;
const CALLERS_PROCESSOR: u32 = 1;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let time = Duration::from_millis(if quick { 500 } else { 5_000 });
    let component = components::build("faults");
    Process::own().pin(CALLERS_PROCESSOR);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        goodput(&component, time).await;
        fairness(&component, time).await;
        refusals(&component, time).await;
    });
}

async fn goodput(component: &Path, time: Duration) {
    println!(
        "| calls that | peak | load | offered | goodput | of peak | refused | late | host's CPU | callers' |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut missed = 0;
    for (name, keys, method) in [
        ("compute for 3 ms", "", Method::Spin),
        (
            "wait for 20 ms, 10 at once",
            "max_concurrent_calls = 10",
            Method::Sleep,
        ),
    ] {
        let host = Host::start(&[("faults", component)], keys).await;
        let work = Work::calibrated(&host.channel, FAULTS, method).await;
        let peak = host.closed(work, BUSY_CALLERS, time).await;
        assert!(
            peak > 0.0,
            "nothing was served: something else uses the host's processor"
        );
        for factor in FACTORS {
            let (host_cpu, callers_cpu) = (host.server.process().cpu_time(), Process::own().cpu_time());
            let tally = Arc::new(Tally::default());
            open(&host.channel, work, peak * f64::from(factor), time, &tally).await;
            let busy = |now: Duration, before: Duration| (now - before).as_secs_f64() / time.as_secs_f64();
            let host_busy = busy(host.server.process().cpu_time(), host_cpu);
            let callers_busy = busy(Process::own().cpu_time(), callers_cpu);
            let per_second =
                |count: &AtomicU32| f64::from(count.load(Ordering::Relaxed)) / time.as_secs_f64();
            let goodput = per_second(&tally.good);
            let ratio = goodput / peak;
            missed += usize::from(ratio < BOUND);
            println!(
                "| {name} | {peak:.0}/s | {factor}x | {:.0}/s | {goodput:.0}/s | {ratio:.2} | {:.0}/s | {:.0}/s | \
                 {host_busy:.2} | {callers_busy:.2} |",
                per_second(&tally.sent),
                per_second(&tally.refused),
                per_second(&tally.late),
            );
            // What is still under way must not count for the next.
            tokio::time::sleep(2 * DEADLINE).await;
        }
    }
    println!("\n{missed} of {} below {BOUND} of the peak\n", 2 * FACTORS.len());
}

async fn fairness(component: &Path, time: Duration) {
    let folder = tempfile::tempdir().expect("a folder");
    let beside = renamed(component, folder.path());
    let host = Host::start(&[("faults", component), ("beside", beside.as_path())], "").await;
    let flood = Work::calibrated(&host.channel, FAULTS, Method::Spin).await;
    let few = Work {
        package: BESIDE,
        ..flood
    };
    let peak = host.closed(flood, BUSY_CALLERS, time).await;
    let alone = host.closed(few, FEW_CALLERS, time).await;
    let flooded = Arc::new(Tally::default());
    let flooding = {
        let (channel, flooded) = (host.channel.clone(), flooded.clone());
        tokio::spawn(async move { open(&channel, flood, 5.0 * peak, 2 * time, &flooded).await })
    };
    let (beside, flooded) = tokio::join!(host.closed(few, FEW_CALLERS, time), goodput_of(&flooded, time));
    flooding.abort();
    let part = beside / (beside + flooded);
    println!(
        "| {FEW_CALLERS} callers of one plugin, 3 ms each | alone | while another is flooded | the other's goodput | \
         of both |"
    );
    println!("|---|---|---|---|---|");
    println!("| | {alone:.0}/s | {beside:.0}/s | {flooded:.0}/s | {part:.2} |");
    let verdict = if part < FAIR_PART { "below" } else { "not below" };
    println!("\n{verdict} {FAIR_PART}\n");
}

async fn refusals(component: &Path, time: Duration) {
    let call = |method| Work {
        method,
        package: FAULTS,
        rounds: 0,
    };
    let free = Host::start(&[("faults", component)], "").await;
    let (served, _) = free.cost(call(Method::Echo), time).await;
    drop(free);
    let full = Host::start(
        &[("faults", component)],
        "max_concurrent_calls = 1\nmax_queued_calls = 0",
    )
    .await;
    let channel = full.channel.clone();
    let occupying = tokio::spawn(async move { call(Method::Occupy).call(channel, &Tally::default()).await });
    tokio::time::sleep(DEADLINE).await;
    let (refused, tally) = full.cost(call(Method::Echo), time).await;
    assert_eq!(tally.good.load(Ordering::Relaxed), 0, "the one slot is taken");
    occupying.abort();
    println!("| a call that does nothing | host's CPU | of that served |\n|---|---|---|");
    println!("| served | {served:.1} us | 1.00 |");
    println!("| refused | {refused:.1} us | {:.2} |", refused / served);
}

/// A host on its processor, and a connection to it.
struct Host {
    server: Server,
    channel: Channel,
}

impl Host {
    async fn start(plugins: &[(&str, &Path)], keys: &str) -> Self {
        let mut setup = Setup::default().server_key("worker_threads = 1").server_key(keys);
        for (name, component) in plugins {
            setup = setup.and(name, component);
        }
        let server = Server::mortise(&setup);
        server.process().pin(HOST_PROCESSOR);
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).expect("an address");
        let channel = endpoint.connect().await.expect("the host listens");
        // Plugins may still be loading.
        Work::calibrated(&channel, FAULTS, Method::Spin).await;
        Self { server, channel }
    }

    fn callers(&self, work: Work, callers: usize) -> (Arc<Tally>, Vec<JoinHandle<()>>) {
        let tally = Arc::new(Tally::default());
        let callers = (0..callers).map(|_| {
            let (channel, tally) = (self.channel.clone(), tally.clone());
            tokio::spawn(async move {
                loop {
                    work.call(channel.clone(), &tally).await;
                }
            })
        });
        (tally.clone(), callers.collect())
    }

    /// Processor time of the host for one call, in microseconds, and how calls ended.
    async fn cost(&self, work: Work, time: Duration) -> (f64, Arc<Tally>) {
        let (tally, callers) = self.callers(work, BUSY_CALLERS);
        tokio::time::sleep(time / 5).await;
        let (cpu, ended) = (self.server.process().cpu_time(), tally.ended());
        tokio::time::sleep(time).await;
        let (cpu, ended) = (self.server.process().cpu_time() - cpu, tally.ended() - ended);
        callers.iter().for_each(JoinHandle::abort);
        (cpu.as_secs_f64() * 1e6 / f64::from(ended), tally)
    }

    /// Calls a second that so many callers get served, each waiting for its answer.
    async fn closed(&self, work: Work, callers: usize, time: Duration) -> f64 {
        let (tally, callers) = self.callers(work, callers);
        let goodput = goodput_of(&tally, time).await;
        callers.iter().for_each(JoinHandle::abort);
        goodput
    }
}

/// Good answers a second, once the host has learnt what the calls are like.
async fn goodput_of(tally: &Tally, time: Duration) -> f64 {
    tokio::time::sleep(time / 5).await;
    let before = tally.good.load(Ordering::Relaxed);
    tokio::time::sleep(time).await;
    let good = tally.good.load(Ordering::Relaxed) - before;
    f64::from(good) / time.as_secs_f64()
}

/// `rate` calls a second, whatever becomes of them.
async fn open(channel: &Channel, work: Work, rate: f64, time: Duration, tally: &Arc<Tally>) {
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
}

/// A copy of the plugin of faults with another service, because each belongs to one plugin.
fn renamed(component: &Path, folder: &Path) -> PathBuf {
    let bytes = std::fs::read(component).expect("it was built");
    let file = folder.join("beside.wasm");
    std::fs::write(&file, components::changed(&bytes, FAULTS, BESIDE)).expect("the folder is new");
    file
}

/// How calls ended.
#[derive(Default)]
struct Tally {
    sent: AtomicU32,
    good: AtomicU32,
    refused: AtomicU32,
    late: AtomicU32,
}

impl Tally {
    fn ended(&self) -> u32 {
        [&self.good, &self.refused, &self.late]
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

/// What a call does.
#[derive(Debug, Clone, Copy)]
struct Work {
    package: &'static str,
    method: Method,
    /// So many take about 3 ms of a processor.
    rounds: u64,
}

#[derive(Debug, Clone, Copy)]
enum Method {
    /// Computes.
    Spin,
    /// Waits for 20 ms, of which a host with few slots has no more than those.
    Sleep,
    /// Does nothing.
    Echo,
    /// Holds a slot for an hour.
    Occupy,
}

impl Work {
    /// With as many rounds as take 3 ms while nothing else runs.
    async fn calibrated(channel: &Channel, package: &'static str, method: Method) -> Self {
        let work = Self {
            package,
            method,
            rounds: 0,
        };
        let spin = pb::SpinRequest {
            milliseconds: 3,
            rounds: 0,
        };
        let answer = work
            .unary::<_, pb::SpinResponse>(channel.clone(), "Spin", spin, PATIENCE)
            .await;
        let rounds = answer.expect("an answer").rounds;
        Self { rounds, ..work }
    }

    async fn call(self, channel: Channel, tally: &Tally) {
        let began = Instant::now();
        let ended = match self.method {
            Method::Spin => {
                let request = pb::SpinRequest {
                    milliseconds: 3,
                    rounds: self.rounds,
                };
                let spun = self.unary::<_, pb::SpinResponse>(channel, "Spin", request, DEADLINE);
                spun.await.map(drop)
            }
            Method::Sleep => self.sleep(channel, 20, DEADLINE).await,
            Method::Occupy => self.sleep(channel, 3_600_000, Duration::from_secs(3600)).await,
            Method::Echo => {
                let request = pb::EchoRequest::default();
                let echoed = self.unary::<_, pb::EchoResponse>(channel, "Echo", request, DEADLINE);
                echoed.await.map(drop)
            }
        };
        let count = match ended {
            Ok(()) if began.elapsed() <= DEADLINE => &tally.good,
            Err(status) if status.code() == Code::Unavailable => &tally.refused,
            _ => &tally.late,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    async fn sleep(
        self,
        channel: Channel,
        milliseconds: u32,
        timeout: Duration,
    ) -> Result<(), tonic::Status> {
        let request = pb::SleepRequest { milliseconds };
        let slept = self.unary::<_, pb::SleepResponse>(channel, "Sleep", request, timeout);
        slept.await.map(drop)
    }

    async fn unary<Q, A>(
        self,
        channel: Channel,
        method: &str,
        request: Q,
        timeout: Duration,
    ) -> Result<A, tonic::Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut client = tonic::client::Grpc::new(channel);
        client
            .ready()
            .await
            .map_err(|error| tonic::Status::unknown(error.to_string()))?;
        let path = format!("/{}.Faults/{method}", self.package)
            .try_into()
            .expect("a path");
        let mut request = tonic::Request::new(request);
        request.set_timeout(timeout);
        let answer = client.unary(request, path, ProstCodec::default()).await?;
        Ok(answer.into_inner())
    }
}
