//! What is kept of one plugin over all its generations.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::generation::{CODES, GenerationMetrics, State};
use super::instrument::{Counter, Durations};
use crate::observe::printable;

/// How many generations are shown after they were unloaded, so that the figures of one that was replaced
/// because it failed can still be looked at.
const UNLOADED_KEPT: usize = 3;

/// Of a refusal's reason.
const MAX_REASON_BYTES: usize = 4096;

/// Figures of one plugin. It outlives the generations that count with it.
#[derive(Debug, Default)]
pub struct PluginMetrics {
    /// The first time, and every time that the file has changed.
    pub loads: LoadOutcomes,
    /// Of every load that found a new file.
    pub load_seconds: Durations,
    /// Of those that were compiled.
    pub compile_seconds: Durations,
    /// Compiled components that were in the cache.
    pub cache_hits: Counter,
    /// Those that were not.
    pub cache_misses: Counter,
    /// Generations that were dropped after their last call.
    pub unloaded: Counter,
    refusal: Mutex<Option<Refusal>>,
    generations: Mutex<Generations>,
}

/// What a look at a plugin's file came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadOutcome {
    /// A new generation is live.
    Live,
    /// The live generation is made of the same bytes.
    Unchanged,
    /// The file cannot be served.
    Refused,
}

/// A counter for each [`LoadOutcome`].
#[derive(Debug, Default)]
pub struct LoadOutcomes([Counter; 3]);

impl LoadOutcomes {
    /// By the names that the label has.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Counter)> {
        ["live", "unchanged", "refused"].into_iter().zip(&self.0)
    }
}

/// Why a plugin's file was not loaded.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// As in the log.
    pub reason: String,
    /// When.
    pub at: SystemTime,
}

#[derive(Debug, Default)]
struct Generations {
    /// Those that were live once: all that are still loaded and the last few that are not, oldest first.
    shown: VecDeque<Arc<GenerationMetrics>>,
    /// What those that are no longer shown have counted, by code.
    forgotten: [u64; CODES],
}

impl PluginMetrics {
    /// Counts a look at the file. `refusal` is its reason if the file was refused.
    pub fn looked(&self, outcome: LoadOutcome, took: Duration, refusal: Option<String>) {
        self.loads.0[outcome as usize].increment();
        if outcome != LoadOutcome::Unchanged {
            self.load_seconds.observe(took);
        }
        *self.refusal.lock() = refusal.map(|reason| Refusal {
            reason: printable(&reason, MAX_REASON_BYTES),
            at: SystemTime::now(),
        });
    }

    /// Why the file was refused, if that is what came of the last look at it.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.lock().clone()
    }

    /// The generations that are loaded and the last few that were, oldest first.
    pub fn generations(&self) -> Vec<Arc<GenerationMetrics>> {
        self.generations.lock().shown.iter().cloned().collect()
    }

    /// Calls that have ended, of all generations together, by code.
    pub fn calls(&self) -> [u64; CODES] {
        let generations = self.generations.lock();
        let mut calls = generations.forgotten;
        for generation in &generations.shown {
            add(&mut calls, &generation.calls());
        }
        calls
    }

    /// From now on `generation` is shown.
    pub(super) fn show(&self, generation: Arc<GenerationMetrics>) {
        self.generations.lock().shown.push_back(generation);
    }

    /// Stops showing the oldest of those that are unloaded, but keeps what they counted.
    pub(super) fn forget_old(&self) {
        let mut generations = self.generations.lock();
        let is_unloaded = |generation: &Arc<GenerationMetrics>| generation.state() == State::Unloaded;
        let unloaded = generations.shown.iter().filter(|each| is_unloaded(each)).count();
        for _ in UNLOADED_KEPT..unloaded {
            let Some(oldest) = generations.shown.iter().position(is_unloaded) else {
                return;
            };
            if let Some(forgotten) = generations.shown.remove(oldest) {
                add(&mut generations.forgotten, &forgotten.calls());
            }
        }
    }
}

fn add(to: &mut [u64; CODES], more: &[u64; CODES]) {
    to.iter_mut().zip(more).for_each(|(sum, count)| *sum += count);
}

#[cfg(test)]
mod tests {
    use super::super::generation::Identity;
    use super::*;
    use tonic::Code;

    /// A generation that has served `calls` calls.
    fn live(plugin: &Arc<PluginMetrics>, number: u64, calls: u64) -> Arc<GenerationMetrics> {
        let generation = Arc::new(GenerationMetrics::new(plugin.clone(), ["/a.B/C"]));
        GenerationMetrics::went_live(
            &generation,
            Identity {
                number,
                version: "1".into(),
                digest: "d".into(),
                since: SystemTime::UNIX_EPOCH,
            },
        );
        for _ in 0..calls {
            let now = tokio::time::Instant::now();
            generation.begin(0, now).end(Code::Ok, Duration::ZERO);
        }
        generation
    }

    #[test]
    fn few_unloaded_generations_are_shown_and_their_calls_are_kept() {
        let plugin = Arc::new(PluginMetrics::default());
        let old: Vec<_> = (1..=10).map(|number| live(&plugin, number, number)).collect();
        assert_eq!(plugin.generations().len(), 10, "all of them are loaded");
        for generation in &old[..9] {
            generation.unload();
        }
        let shown: Vec<_> = plugin
            .generations()
            .iter()
            .map(|each| each.identity().number)
            .collect();
        assert_eq!(shown, [7, 8, 9, 10]);
        assert_eq!(plugin.calls()[Code::Ok as usize], 55);
        assert_eq!(plugin.unloaded.value(), 9);
    }

    #[test]
    fn a_refusal_is_kept_until_the_next_look() {
        let plugin = PluginMetrics::default();
        let refused = Some("damaged\nfile".to_owned());
        plugin.looked(LoadOutcome::Refused, Duration::ZERO, refused);
        let refusal = plugin.refusal().expect("refused");
        assert_eq!(refusal.reason, "damaged\\nfile");
        plugin.looked(LoadOutcome::Unchanged, Duration::ZERO, None);
        assert!(plugin.refusal().is_none());
    }
}
