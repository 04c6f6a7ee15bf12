//! Kinds of load, and what servers make of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::{Call, Client, Failure};
use crate::support::server::Server;

/// Callers that each wait for their answer before they call again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Callers {
    pub(crate) connections: usize,
    pub(crate) per_connection: usize,
}

impl Callers {
    /// As many as keep a server busy.
    pub(crate) const MANY: Self = Self::new(4, 25);
    pub(crate) const ONE: Self = Self::new(1, 1);

    pub(crate) const fn new(connections: usize, per_connection: usize) -> Self {
        Self {
            connections,
            per_connection,
        }
    }
}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    elapsed: Duration,
    cpu: Duration,
    /// In microseconds, the shortest first.
    latencies: Vec<f32>,
    failures: Vec<Failure>,
}

impl Outcome {
    pub(crate) fn calls_per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Of the server, in microseconds.
    pub(crate) fn cpu_per_call(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latencies.len() as f64
    }

    /// In microseconds: 0.5 for the median.
    pub(crate) fn latency(&self, quantile: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let index = (last as f64 * quantile).round() as usize;
        self.latencies.get(index).copied().map_or(f64::NAN, f64::from)
    }

    pub(crate) fn failures(&self) -> usize {
        self.failures.len()
    }

    /// # Panics
    /// If a call failed, or was answered otherwise than it must be.
    pub(crate) fn checked(self) -> Self {
        if let Some(Failure(reason)) = self.failures.first() {
            panic!("{} calls failed, the first one: {reason}", self.failures.len());
        }
        assert!(!self.latencies.is_empty(), "no call was answered");
        self
    }
}

/// What callers note down.
#[derive(Debug, Default)]
struct Tally {
    latencies: Vec<f32>,
    failures: Vec<Failure>,
}

impl Tally {
    fn count(&mut self, ended: Result<(), Failure>, took: Duration) {
        match ended {
            Ok(()) => self.latencies.push(took.as_secs_f32() * 1e6),
            Err(failure) => self.failures.push(failure),
        }
    }
}

/// When a load ends.
#[derive(Debug, Clone)]
pub(crate) enum Until {
    Moment(Instant),
    Told(Arc<AtomicBool>),
}

impl Until {
    pub(crate) fn after(time: Duration) -> Self {
        Self::Moment(Instant::now() + time)
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Moment(moment) => Instant::now() >= *moment,
            Self::Told(over) => over.load(Ordering::Relaxed),
        }
    }
}

/// Puts a load on a server for as long as `work` takes.
pub(crate) fn during<T>(
    work: impl FnOnce() -> T,
    load: impl FnOnce(Until) -> Outcome + Send,
) -> (T, Outcome) {
    let over = Arc::new(AtomicBool::new(false));
    let until = Until::Told(over.clone());
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| load(until));
        // It begins with connecting.
        std::thread::sleep(Duration::from_millis(100));
        let worked = work();
        over.store(true, Ordering::Relaxed);
        (worked, loading.join().expect("no panic"))
    })
}

/// Has `callers` make `calls`, one after another and from the first again, for `time`.
pub(crate) fn saturate(server: &Server, calls: &[Call], callers: Callers, time: Duration) -> Outcome {
    repeat(server, calls, callers, Duration::ZERO, Until::after(time))
}

/// The same with a pause before each call.
pub(crate) fn repeat(
    server: &Server,
    calls: &[Call],
    callers: Callers,
    pause: Duration,
    until: Until,
) -> Outcome {
    measured(server, callers.connections, async |clients| {
        let calls: Arc<[Call]> = calls.into();
        let mut calling = JoinSet::new();
        for caller in 0..callers.connections * callers.per_connection {
            let (client, calls) = (clients[caller % clients.len()].clone(), calls.clone());
            let until = until.clone();
            calling.spawn(async move {
                let mut tally = Tally::default();
                for call in calls.iter().cycle().skip(caller % calls.len()) {
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                    if until.is_over() {
                        break;
                    }
                    let began = Instant::now();
                    tally.count(client.call(call).await, began.elapsed());
                }
                tally
            });
        }
        calling.join_all().await
    })
}

/// Makes `rate` calls a second for `time`, whether or not earlier ones are answered. Latencies count from the
/// moment at which a call is handed to the client.
pub(crate) fn paced(server: &Server, call: &Call, rate: f64, time: Duration) -> Outcome {
    paced_until(server, call, rate, Until::after(time))
}

/// The same, until it is told to end.
pub(crate) fn paced_until(server: &Server, call: &Call, rate: f64, until: Until) -> Outcome {
    measured(server, Callers::MANY.connections, async |clients| {
        let (hand_over, mut due) = mpsc::unbounded_channel();
        // Timers of the runtime are too coarse.
        let pacer = std::thread::spawn(move || pace(rate, &until, |now| hand_over.send(now).is_ok()));
        let call = Arc::new(call.clone());
        let mut calling = JoinSet::new();
        let mut tally = Tally::default();
        let mut clients = clients.iter().cycle();
        while let (Some(began), Some(client)) = (due.recv().await, clients.next()) {
            let (client, call) = (client.clone(), call.clone());
            calling.spawn(async move { (client.call(&call).await, began.elapsed()) });
            while let Some(ended) = calling.try_join_next() {
                let (ended, took) = ended.expect("no panic");
                tally.count(ended, took);
            }
        }
        for (ended, took) in calling.join_all().await {
            tally.count(ended, took);
        }
        pacer.join().expect("no panic");
        vec![tally]
    })
}

/// Tells `make` when a call is due; after a sleep that was too long, of all that have become due.
fn pace(rate: f64, until: &Until, make: impl Fn(Instant) -> bool) {
    let started = Instant::now();
    let mut made = 0;
    while !until.is_over() {
        std::thread::sleep(Duration::from_secs_f64(1.0 / rate));
        let now = Instant::now();
        let due = ((now - started).as_secs_f64() * rate) as u64;
        if !(made..due).all(|_| make(now)) {
            return;
        }
        made = due;
    }
}

/// Runs `load` on one thread, with connections to `server`.
fn measured(server: &Server, connections: usize, load: impl AsyncFnOnce(&[Client]) -> Vec<Tally>) -> Outcome {
    block_on(async {
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(Client::connect(server.address).await);
        }
        let (started, cpu) = (Instant::now(), server.process().cpu_time());
        let tallies = load(&clients).await;
        let (elapsed, cpu) = (started.elapsed(), server.process().cpu_time() - cpu);
        let mut all = Tally::default();
        for tally in tallies {
            all.latencies.extend(tally.latencies);
            all.failures.extend(tally.failures);
        }
        all.latencies.sort_by(f32::total_cmp);
        Outcome {
            elapsed,
            cpu,
            latencies: all.latencies,
            failures: all.failures,
        }
    })
}

/// On this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}
