//! Whose turn it is: the background's processors are divided evenly among the plugins that want them, and among
//! the calls of one plugin in favour of short ones.
//!
//! Among plugins, and among the levels of one, it is start-time fair queueing (Goyal, Vin and Cheng, 1996): who
//! has used the least processor time, weighted, is next; who was away for a while has saved up nothing. Among
//! the calls of a plugin it is a multi-level feedback queue: a call begins on the level of what calls of its
//! method usually use, sinks when it uses more, and on each level the one that came first runs to its end
//! first. So calls run one after the other, not all at once and all late; a short call passes the long ones,
//! and those still get a part.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::engine::TICK;
use crate::admission::Stay;
use crate::capability::Namespace;

/// How long a call may compute on each level, or twice what is usual for its method if that is longer, until it
/// sinks; on the last level, until it goes to the end.
const ALLOWED: [Duration; 3] = [
    Duration::from_millis(5),
    Duration::from_millis(50),
    Duration::from_millis(100),
];
const LAST: usize = ALLOWED.len() - 1;

/// Time on one level counts for so many times that on the level above.
const LEVEL_WEIGHT: u64 = 4;

/// Jobs of all plugins that wait for a processor.
pub(super) struct Turns<J> {
    /// Of every plugin that ever had a job here: as many as the operator has named.
    lanes: Vec<Lane<J>>,
    /// Virtual time among the lanes.
    now: Nanos,
    tickets: u64,
}

/// Virtual time: what has been used, weighted.
type Nanos = u64;

/// The jobs of one plugin.
struct Lane<J> {
    plugin: Namespace,
    used: Nanos,
    levels: [Level<J>; ALLOWED.len()],
    /// Virtual time among the levels.
    now: Nanos,
}

/// Those of one length.
struct Level<J> {
    used: Nanos,
    /// By ticket.
    jobs: BTreeMap<u64, Waiting<J>>,
    /// How many of them wait for their first turn.
    fresh: u32,
    /// When the last job had its first turn, if others were waiting for theirs.
    began: Option<Instant>,
    /// Between two first turns while jobs wait for theirs.
    interval: Stay,
}

struct Waiting<J> {
    job: J,
    fresh: bool,
}

/// The place of one job: it keeps it over its turns, and while it waits for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    lane: usize,
    level: usize,
    ticket: u64,
    /// What it may still use before it sinks.
    allowed: Duration,
    fresh: bool,
}

impl<J> Default for Turns<J> {
    fn default() -> Self {
        Self {
            lanes: Vec::new(),
            now: 0,
            tickets: 0,
        }
    }
}

impl<J> Turns<J> {
    /// A place for a new job of `plugin`, which usually uses so much of a processor.
    pub(super) fn place(&mut self, plugin: &Namespace, usual: Duration) -> Place {
        let lane = self.lane(plugin).unwrap_or_else(|| {
            self.lanes.push(Lane::new(plugin.clone()));
            self.lanes.len() - 1
        });
        let level = level(usual);
        Place {
            lane,
            level,
            ticket: self.ticket(),
            allowed: ALLOWED[level].max(2 * usual),
            fresh: true,
        }
    }

    /// From now on the job waits for a turn.
    pub(super) fn wait(&mut self, place: Place, job: J) {
        let lane = &mut self.lanes[place.lane];
        if lane.is_empty() {
            lane.used = lane.used.max(self.now);
        }
        let level = &mut lane.levels[place.level];
        if level.jobs.is_empty() {
            level.used = level.used.max(lane.now);
        }
        let fresh = place.fresh;
        level.fresh += u32::from(fresh);
        level.jobs.insert(place.ticket, Waiting { job, fresh });
    }

    /// It waits no longer. None if it did not.
    pub(super) fn leave(&mut self, place: Place) -> Option<J> {
        let level = &mut self.lanes[place.lane].levels[place.level];
        let Waiting { job, fresh } = level.jobs.remove(&place.ticket)?;
        level.fresh -= u32::from(fresh);
        Some(job)
    }

    /// The job whose turn it is at `now`.
    pub(super) fn next(&mut self, now: Instant) -> Option<J> {
        let lanes = self.lanes.iter_mut().filter(|lane| !lane.is_empty());
        let lane = lanes.min_by_key(|lane| lane.used)?;
        self.now = self.now.max(lane.used);
        // What a turn is thought to take, until it is known: what runs at the moment counts.
        lane.used += nanos(TICK);
        let levels = lane.levels.iter_mut().enumerate();
        let levels = levels.filter(|(_, level)| !level.jobs.is_empty());
        let (depth, level) = levels.min_by_key(|(_, level)| level.used)?;
        lane.now = lane.now.max(level.used);
        level.used += weighted(TICK, depth);
        let (_, Waiting { job, fresh }) = level.jobs.pop_first()?;
        if fresh {
            level.begin(now);
        }
        Some(job)
    }

    /// The turn of a job is over, in which it used so much of a processor.
    pub(super) fn used(&mut self, place: &mut Place, time: Duration) {
        let lane = &mut self.lanes[place.lane];
        let settle = |used: &mut Nanos, depth: usize| {
            *used = (*used + weighted(time, depth)).saturating_sub(weighted(TICK, depth));
        };
        settle(&mut lane.used, 0);
        settle(&mut lane.levels[place.level].used, place.level);
        place.fresh = false;
        place.allowed = place.allowed.saturating_sub(time);
        if place.allowed.is_zero() {
            place.level = (place.level + 1).min(LAST);
            place.allowed = ALLOWED[place.level];
            place.ticket = self.ticket();
        }
    }

    /// How long a new job of `plugin`, which usually uses so much, would wait for its first turn, as far as is
    /// known; none if no other of its kind is waiting for it now.
    pub(super) fn expected_wait(&self, plugin: &Namespace, usual: Duration) -> Option<Duration> {
        let level = &self.lanes[self.lane(plugin)?].levels[level(usual)];
        let interval = level.interval.expected();
        (level.fresh > 0).then(|| interval.saturating_mul(level.fresh.saturating_add(1)))
    }

    /// No job waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(Lane::is_empty)
    }

    /// All jobs that wait.
    pub(super) fn drain(&mut self) -> Vec<J> {
        let lanes = self.lanes.iter_mut();
        let levels = lanes.flat_map(|lane| &mut lane.levels);
        let jobs = levels.flat_map(|level| std::mem::take(&mut level.jobs).into_values());
        jobs.map(|waiting| waiting.job).collect()
    }

    fn lane(&self, plugin: &Namespace) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.plugin == *plugin)
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
}

impl<J> Lane<J> {
    fn new(plugin: Namespace) -> Self {
        Self {
            plugin,
            used: 0,
            levels: Default::default(),
            now: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.levels.iter().all(|level| level.jobs.is_empty())
    }
}

impl<J> Default for Level<J> {
    fn default() -> Self {
        Self {
            used: 0,
            jobs: BTreeMap::new(),
            fresh: 0,
            began: None,
            interval: Stay::default(),
        }
    }
}

impl<J> Level<J> {
    /// A job has its first turn.
    fn begin(&mut self, now: Instant) {
        if let Some(before) = self.began {
            self.interval.learn(now.duration_since(before));
        }
        self.fresh -= 1;
        self.began = (self.fresh > 0).then_some(now);
    }
}

/// Where jobs begin that usually use so much.
fn level(usual: Duration) -> usize {
    let fits = ALLOWED.iter().position(|allowed| usual <= *allowed);
    fits.unwrap_or(LAST)
}

fn weighted(time: Duration, depth: usize) -> Nanos {
    nanos(time).saturating_mul(LEVEL_WEIGHT.pow(depth as u32))
}

fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
