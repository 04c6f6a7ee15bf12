//! What figures are counted with: relaxed atomic additions, a few nanoseconds each where no two threads write
//! to the same cache line.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Counts up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A figure that is set to what it is now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// What it is from now on.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Makes it `value` if that is more.
    pub fn raise(&self, value: u64) {
        // Most calls raise nothing, and a look costs less than an exchange.
        if value > self.value() {
            self.0.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// What it is.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Of durations, in nanoseconds: from what a call costs by itself to what few clients wait for.
const DURATION_BOUNDS: [u64; 18] = {
    const US: u64 = 1_000;
    const MS: u64 = 1_000 * US;
    const S: u64 = 1_000 * MS;
    [
        50 * US,
        100 * US,
        250 * US,
        500 * US,
        MS,
        2_500 * US,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        500 * MS,
        S,
        2_500 * MS,
        5 * S,
        10 * S,
        30 * S,
    ]
};

/// Of numbers of things.
const NUMBER_BOUNDS: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// Counts values by the first bound that they do not exceed.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    within: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

/// Of durations, counted in nanoseconds.
pub type Durations = Histogram<{ DURATION_BOUNDS.len() }>;

/// Of numbers of things.
pub type Numbers = Histogram<{ NUMBER_BOUNDS.len() }>;

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            within: std::array::from_fn(|_| AtomicU64::new(0)),
            beyond: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts `value`.
    pub fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.within
            .get(bucket)
            .unwrap_or(&self.beyond)
            .fetch_add(1, Ordering::Relaxed);
        if value > 0 {
            self.sum.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub fn distribution(&self) -> Distribution {
        let mut distribution = Distribution::default();
        distribution.add(self);
        distribution
    }
}

impl Durations {
    /// Counts `duration`; 584 years and more count as that.
    pub fn observe(&self, duration: Duration) {
        self.record(nanos(duration));
    }
}

impl Default for Durations {
    fn default() -> Self {
        Self::new(&DURATION_BOUNDS)
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self::new(&NUMBER_BOUNDS)
    }
}

/// Whole nanoseconds, as figures keep durations.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What one histogram, or several of the same bounds together, have counted.
#[derive(Debug, Default, Clone)]
pub struct Distribution {
    pub(super) bounds: &'static [u64],
    /// By bound, and at the end those beyond the last one.
    pub(super) counts: Vec<u64>,
    pub(super) sum: u64,
}

impl Distribution {
    /// How many values were counted.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds what `histogram` has counted. All that are added must have the same bounds.
    pub fn add<const N: usize>(&mut self, histogram: &Histogram<N>) {
        self.bounds = histogram.bounds;
        self.counts.resize(N + 1, 0);
        let buckets = histogram.within.iter().chain([&histogram.beyond]);
        for (sum, bucket) in self.counts.iter_mut().zip(buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        self.sum = self.sum.wrapping_add(histogram.sum.load(Ordering::Relaxed));
    }
}

/// How many threads can count at once without disturbing each other.
const SHARDS: usize = 4;

/// One `T` for every few threads, so that the processors do not pass one cache line around. Read by adding up.
#[derive(Debug, Default)]
pub(super) struct Sharded<T>([Shard<T>; SHARDS]);

/// On cache lines of its own; 128 bytes, because processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard<T>(T);

impl<T> Sharded<T> {
    /// The one that the calling thread counts with.
    pub(super) fn mine(&self) -> &T {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static SHARD: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        // A thread that is just ending may count with any of them.
        let shard = SHARD.try_with(|shard| *shard).unwrap_or_default();
        &self.0[shard].0
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|shard| &shard.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_at_the_first_bound_it_does_not_exceed() {
        let numbers = Numbers::default();
        for value in [0, 1, 2, 3, 4, 1024, 1025, 9999] {
            numbers.record(value);
        }
        let distribution = numbers.distribution();
        assert_eq!(distribution.counts, [2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(distribution.sum, 1 + 2 + 3 + 4 + 1024 + 1025 + 9999);
    }

    #[test]
    fn all_durations_can_be_counted() {
        let durations = Durations::default();
        durations.observe(Duration::ZERO);
        durations.observe(Duration::from_micros(50));
        durations.observe(Duration::MAX);
        let distribution = durations.distribution();
        assert_eq!(distribution.counts.first(), Some(&2));
        assert_eq!(distribution.counts.last(), Some(&1));
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let counters: Sharded<Counter> = Sharded::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| counters.mine().increment()));
            }
        });
        let sum: u64 = counters.iter().map(Counter::value).sum();
        assert_eq!(sum, 2000 * SHARDS as u64);
    }

    #[test]
    fn a_gauge_is_raised_and_not_lowered() {
        let gauge = Gauge::default();
        gauge.raise(5);
        gauge.raise(3);
        assert_eq!(gauge.value(), 5);
        gauge.set(1);
        assert_eq!(gauge.value(), 1);
    }
}
