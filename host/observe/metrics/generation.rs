//! What one generation counts, and what one call adds to it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tonic::Code;

use super::instrument::{Counter, Distribution, Durations, Gauge, Sharded, nanos};
use super::plugin::PluginMetrics;
use super::reasons::Reasons;

/// The codes of gRPC, from 0 for OK to 16.
pub(super) const CODES: usize = 17;

/// Figures of one generation. Kept beyond its end, for as long as it is shown.
#[derive(Debug)]
pub struct GenerationMetrics {
    plugin: Arc<PluginMetrics>,
    /// Present once it was live.
    identity: OnceLock<Identity>,
    unloaded: OnceLock<SystemTime>,
    methods: Box<[Method]>,
    queue: Durations,
    traps: [Counter; TrapKind::ALL.len()],
    memory_peak: Gauge,
    memory_growths: Counter,
    slow: Counter,
    host_statuses: Reasons,
    admission_refusals: Reasons,
}

/// Which generation it is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Counted over all plugins of the host, from 1.
    pub number: u64,
    /// What the plugin says of itself.
    pub version: String,
    /// Of the component.
    pub digest: String,
    /// When it turned live.
    pub since: SystemTime,
}

/// What has become of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is loaded. Whether calls go to it, the router knows.
    Loaded,
    /// It was dropped after its last call.
    Unloaded,
}

/// A method, with its figures added up.
#[derive(Debug)]
pub(super) struct Method {
    path: Box<str>,
    calls: Sharded<Calls>,
}

/// What every call adds to.
#[derive(Debug, Default)]
struct Calls {
    begun: Counter,
    ended: [Counter; CODES],
    seconds: Durations,
    guest_cpu: Counter,
    retries: Counter,
    conflicts: Counter,
}

/// What stopped a sandbox in the middle of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrapKind {
    /// A panic or an abort.
    Unreachable,
    /// The stack was used up.
    StackOverflow,
    /// An access beyond the memory.
    MemoryOutOfBounds,
    /// The memory limit.
    OutOfMemory,
    /// It ended its process, as it thought.
    Exit,
    /// Any other.
    Other,
}

impl TrapKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::StackOverflow,
        Self::MemoryOutOfBounds,
        Self::OutOfMemory,
        Self::Exit,
        Self::Other,
    ];

    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::StackOverflow => "stack_overflow",
            Self::MemoryOutOfBounds => "memory_out_of_bounds",
            Self::OutOfMemory => "out_of_memory",
            Self::Exit => "exit",
            Self::Other => "other",
        }
    }
}

impl GenerationMetrics {
    /// Of a generation that has the methods with these paths.
    pub fn new<'p>(plugin: Arc<PluginMetrics>, paths: impl IntoIterator<Item = &'p str>) -> Self {
        let methods = paths.into_iter().map(|path| Method {
            path: path.into(),
            calls: Sharded::default(),
        });
        Self {
            plugin,
            identity: OnceLock::new(),
            unloaded: OnceLock::new(),
            methods: methods.collect(),
            queue: Durations::default(),
            traps: Default::default(),
            memory_peak: Gauge::default(),
            memory_growths: Counter::default(),
            slow: Counter::default(),
            host_statuses: Reasons::default(),
            admission_refusals: Reasons::default(),
        }
    }

    /// From now on it is shown.
    pub fn went_live(this: &Arc<Self>, identity: Identity) {
        if this.identity.set(identity).is_ok() {
            this.plugin.show(this.clone());
        }
    }

    /// It was dropped. One that was never live leaves no trace.
    pub fn unload(&self) {
        if self.identity.get().is_some() && self.unloaded.set(SystemTime::now()).is_ok() {
            self.plugin.unloaded.increment();
            self.plugin.forget_old();
        }
    }

    /// Which one it is; number 0 before it is live.
    pub fn identity(&self) -> Identity {
        self.identity.get().cloned().unwrap_or_else(|| Identity {
            number: 0,
            version: String::new(),
            digest: String::new(),
            since: SystemTime::UNIX_EPOCH,
        })
    }

    /// What has become of it.
    pub fn state(&self) -> State {
        match self.unloaded.get() {
            None => State::Loaded,
            Some(_) => State::Unloaded,
        }
    }

    /// When it was dropped, if it was.
    pub fn unloaded_at(&self) -> Option<SystemTime> {
        self.unloaded.get().copied()
    }

    /// A call of the method with this index begins; its headers came at `arrived`.
    pub fn begin(&self, method: usize, arrived: Instant) -> CallRecord<'_> {
        if let Some(method) = self.methods.get(method) {
            method.calls.mine().begun.increment();
        }
        CallRecord {
            generation: self,
            method,
            arrived,
            lap: arrived,
            stages: Stages::default(),
            ended: false,
        }
    }

    /// Counts time that a sandbox held a processor.
    pub fn used_cpu(&self, method: usize, time: Duration) {
        if let Some(method) = self.methods.get(method) {
            method.calls.mine().guest_cpu.add(nanos(time));
        }
    }

    /// Counts a sandbox that stopped in the middle of a call.
    pub fn trapped(&self, kind: TrapKind) {
        self.traps[kind as usize].increment();
    }

    /// Notes the memory of a sandbox after a call, during which it grew so many times.
    pub fn used_memory(&self, bytes: usize, growths: u32) {
        self.memory_peak.raise(bytes as u64);
        if growths > 0 {
            self.memory_growths.add(growths.into());
        }
    }

    /// Calls in progress.
    pub fn in_flight(&self) -> u64 {
        let calls = || self.methods.iter().flat_map(|method| method.calls.iter());
        // What has ended first: a call that ends in between counts as in progress, and none below zero.
        let ended: u64 = calls().flat_map(|calls| &calls.ended).map(Counter::value).sum();
        let begun: u64 = calls().map(|calls| calls.begun.value()).sum();
        begun.saturating_sub(ended)
    }

    /// Calls that have ended, by code.
    pub fn calls(&self) -> [u64; CODES] {
        let mut sums = [0; CODES];
        for method in &self.methods {
            sums.iter_mut()
                .zip(method.ended())
                .for_each(|(sum, ended)| *sum += ended);
        }
        sums
    }

    /// Those that were called.
    pub(super) fn methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.iter().filter(|method| method.is_used())
    }

    pub(super) fn queue(&self) -> Distribution {
        self.queue.distribution()
    }

    pub(super) fn traps(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let kinds = TrapKind::ALL.into_iter().map(TrapKind::as_str);
        kinds.zip(self.traps.iter().map(Counter::value))
    }

    pub(super) fn memory_peak(&self) -> u64 {
        self.memory_peak.value()
    }

    pub(super) fn memory_growths(&self) -> u64 {
        self.memory_growths.value()
    }

    pub(super) fn slow(&self) -> u64 {
        self.slow.value()
    }

    pub(super) fn host_statuses(&self) -> &Reasons {
        &self.host_statuses
    }

    pub(super) fn admission_refusals(&self) -> &Reasons {
        &self.admission_refusals
    }
}

impl Method {
    fn is_used(&self) -> bool {
        self.calls.iter().any(|calls| calls.begun.value() > 0)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// By code.
    pub(super) fn ended(&self) -> [u64; CODES] {
        let sum = |code: usize| self.sum(|calls| &calls.ended[code]);
        std::array::from_fn(sum)
    }

    pub(super) fn seconds(&self) -> Distribution {
        let mut seconds = Distribution::default();
        self.calls.iter().for_each(|calls| seconds.add(&calls.seconds));
        seconds
    }

    pub(super) fn guest_cpu(&self) -> u64 {
        self.sum(|calls| &calls.guest_cpu)
    }

    pub(super) fn retries(&self) -> u64 {
        self.sum(|calls| &calls.retries)
    }

    pub(super) fn conflicts(&self) -> u64 {
        self.sum(|calls| &calls.conflicts)
    }

    fn sum(&self, counter: impl Fn(&Calls) -> &Counter) -> u64 {
        self.calls.iter().map(|calls| counter(calls).value()).sum()
    }
}

/// A part of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Until the request message was there.
    Read,
    /// Until it was the call's turn.
    Queue,
    /// In sandboxes, all attempts together.
    Guest,
    /// Until what it staged was durable, all attempts together, and between attempts.
    Commit,
}

/// How long each stage took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stages([Duration; 4]);

impl Stages {
    /// How long `stage` took, in milliseconds.
    pub fn millis(&self, stage: Stage) -> u64 {
        u64::try_from(self.0[stage as usize].as_millis()).unwrap_or(u64::MAX)
    }
}

/// What is noted of one call while it runs. Dropped before its end, as it is when the client goes away, it
/// counts as CANCELLED.
#[derive(Debug)]
pub struct CallRecord<'g> {
    generation: &'g GenerationMetrics,
    method: usize,
    arrived: Instant,
    /// When the last stage ended.
    lap: Instant,
    stages: Stages,
    ended: bool,
}

impl CallRecord<'_> {
    /// `stage` ends now, and began when the one before it ended.
    pub fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        let took = now.duration_since(self.lap);
        self.stages.0[stage as usize] += took;
        self.lap = now;
        if stage == Stage::Queue {
            self.generation.queue.observe(took);
        }
    }

    /// The call was not let in.
    pub fn not_admitted(&self, reason: &str) {
        self.generation.admission_refusals.count(reason);
    }

    /// An attempt met a conflict.
    pub fn conflict(&self) {
        self.calls(|calls| &calls.conflicts);
    }

    /// The handler runs once more.
    pub fn retry(&self) {
        self.calls(|calls| &calls.retries);
    }

    /// The host itself ended the call.
    pub fn ended_by_host(&self, reason: &str) {
        self.generation.host_statuses.count(reason);
    }

    /// It took longer than the operator's patience.
    pub fn slow(&self) {
        self.generation.slow.increment();
    }

    /// Since the headers arrived.
    pub fn elapsed(&self) -> Duration {
        self.arrived.elapsed()
    }

    /// When the headers came.
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// How long the stages took that have ended.
    pub fn stages(&self) -> Stages {
        self.stages
    }

    /// The call ends with this status, and took so long.
    pub fn end(mut self, code: Code, took: Duration) {
        self.finish(code, took);
    }

    fn finish(&mut self, code: Code, took: Duration) {
        self.ended = true;
        if let Some(method) = self.generation.methods.get(self.method) {
            let calls = method.calls.mine();
            calls.seconds.observe(took);
            calls.ended[code as usize].increment();
        }
    }

    fn calls(&self, counter: impl Fn(&Calls) -> &Counter) {
        if let Some(method) = self.generation.methods.get(self.method) {
            counter(method.calls.mine()).increment();
        }
    }
}

impl Drop for CallRecord<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.finish(Code::Cancelled, self.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_counts_once_with_its_status_and_its_time() {
        let metrics = GenerationMetrics::new(Arc::default(), ["/a.B/C", "/a.B/D"]);
        let mut record = metrics.begin(1, Instant::now());
        assert_eq!(metrics.in_flight(), 1);
        tokio::time::advance(Duration::from_millis(3)).await;
        record.lap(Stage::Queue);
        tokio::time::advance(Duration::from_millis(2)).await;
        record.lap(Stage::Guest);
        assert_eq!(record.stages().millis(Stage::Guest), 2);
        let took = record.elapsed();
        record.end(Code::NotFound, took);
        drop(metrics.begin(1, Instant::now()));
        assert_eq!(metrics.in_flight(), 0);
        let figures: Vec<_> = metrics.methods().collect();
        assert_eq!(figures.len(), 1, "the other method was not called");
        assert_eq!(figures[0].ended()[Code::NotFound as usize], 1);
        assert_eq!(figures[0].ended()[Code::Cancelled as usize], 1);
        assert_eq!(figures[0].seconds().sum, 5_000_000);
        assert_eq!(metrics.queue().sum, 3_000_000);
    }

    #[test]
    fn trap_kinds_are_counted_apart() {
        let metrics = GenerationMetrics::new(Arc::default(), []);
        for kind in TrapKind::ALL {
            metrics.trapped(kind);
        }
        assert!(metrics.traps().all(|(_, count)| count == 1));
    }
}
