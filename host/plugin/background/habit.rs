//! What calls of a method have been like lately.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::Task;
use crate::admission::Stay;

/// A score that a call which used up its slices raises by `RAISE`, and any other lowers by 1. So a method
/// counts as heavy after two such calls, while at least one in three is, and no longer after a few that are
/// not.
#[derive(Debug, Default)]
pub struct Habit {
    score: AtomicU8,
    /// What a call uses of a processor, if it ends in the background.
    usual: Stay,
}

impl Habit {
    const RAISE: u8 = 2;
    const HEAVY: u8 = 4;
    const MOST: u8 = 8;

    pub(super) fn is_heavy(&self) -> bool {
        self.score.load(Ordering::Relaxed) >= Self::HEAVY
    }

    pub(super) fn usual(&self) -> Duration {
        self.usual.expected()
    }

    pub(super) fn used(&self, time: Duration) {
        self.usual.learn(time);
    }

    fn learn(&self, used_up: bool) {
        let score = self.score.load(Ordering::Relaxed);
        let learnt = match used_up {
            true => (score + Self::RAISE).min(Self::MOST),
            false => score.saturating_sub(1),
        };
        // Most calls end early and find nothing to unlearn. One lesson lost between two threads is no harm.
        if learnt != score {
            self.score.store(learnt, Ordering::Relaxed);
        }
    }
}

/// What a call teaches, once: at its end, or as soon as it has used up its slices. One that is dropped before
/// teaches nothing; it may not even have begun.
pub(super) struct Lesson<'c> {
    task: Task<'c>,
    learnt: bool,
}

impl<'c> Lesson<'c> {
    pub(super) fn of(task: Task<'c>) -> Self {
        Self { task, learnt: false }
    }

    pub(super) fn learn(&mut self) {
        if !std::mem::replace(&mut self.learnt, true) {
            self.task.habit.learn(self.task.slices.used_up());
        }
    }
}

impl Drop for Lesson<'_> {
    fn drop(&mut self) {
        if self.task.slices.used_up() {
            self.learn();
        }
    }
}
