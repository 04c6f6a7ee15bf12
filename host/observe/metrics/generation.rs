//! What one generation counts.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::call::CallRecord;
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
    pub(super) methods: Box<[Method]>,
    pub(super) queue: Sharded<Durations>,
    traps: [Counter; TrapKind::ALL.len()],
    memory_peak: Gauge,
    memory_growths: Counter,
    pub(super) slow: Counter,
    pub(super) host_statuses: Reasons,
    pub(super) admission_refusals: Reasons,
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
    pub(super) calls: Sharded<Calls>,
}

/// What every call adds to.
#[derive(Debug, Default)]
pub(super) struct Calls {
    begun: Counter,
    pub(super) ended: [Counter; CODES],
    pub(super) seconds: Durations,
    guest_cpu: Counter,
    pub(super) retries: Counter,
    pub(super) conflicts: Counter,
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
            queue: Sharded::default(),
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
        CallRecord::new(self, method, arrived)
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
        let mut queue = Distribution::default();
        self.queue.iter().for_each(|waits| queue.add(waits));
        queue
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_kinds_are_counted_apart() {
        let metrics = GenerationMetrics::new(Arc::default(), []);
        for kind in TrapKind::ALL {
            metrics.trapped(kind);
        }
        assert!(metrics.traps().all(|(_, count)| count == 1));
    }
}
