//! What calls of a method have been like lately.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::Task;
use crate::admission::Stay;

/// Two scores. A call that used up its slices raises the first by `RAISE`, and any other lowers it by 1. So a method
/// counts as heavy after two such calls, while at least one in three is, and no longer after a few that are
/// not.
///
/// A call that held its thread for less than `BRIEF` raises the second by 1, and any other lowers it by `LOWER`. So a
/// method counts as brief after a few such calls, and no longer after two in a row that were not; one alone may have
/// lost its processor to another program.
#[derive(Debug, Default)]
pub struct Habit {
    heaviness: AtomicU8,
    brevity: AtomicU8,
    /// What a call uses of a processor, if it ends in the background.
    usual: Stay,
}

impl Habit {
    const RAISE: u8 = 2;
    const HEAVY: u8 = 4;
    const MOST: u8 = 8;
    const BRIEF: Duration = Duration::from_micros(100);
    const LOWER: u8 = 3;
    const IS_BRIEF: u8 = 4;

    pub(super) fn is_heavy(&self) -> bool {
        self.heaviness.load(Ordering::Relaxed) >= Self::HEAVY
    }

    /// Whether calls hold their thread for microseconds only.
    pub fn is_brief(&self) -> bool {
        self.brevity.load(Ordering::Relaxed) >= Self::IS_BRIEF
    }

    pub(super) fn usual(&self) -> Duration {
        self.usual.expected()
    }

    pub(super) fn used(&self, time: Duration) {
        self.usual.learn(time);
    }

    fn learn(&self, used_up: bool, time: Duration) {
        adjust(&self.heaviness, |heaviness| match used_up {
            true => (heaviness + Self::RAISE).min(Self::MOST),
            false => heaviness.saturating_sub(1),
        });
        adjust(&self.brevity, |brevity| match time < Self::BRIEF {
            true => (brevity + 1).min(Self::MOST),
            false => brevity.saturating_sub(Self::LOWER),
        });
    }
}

/// Most calls find nothing to change. One lesson lost between two threads is no harm.
fn adjust(score: &AtomicU8, learn: impl FnOnce(u8) -> u8) {
    let before = score.load(Ordering::Relaxed);
    let learnt = learn(before);
    if learnt != before {
        score.store(learnt, Ordering::Relaxed);
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
            let slices = self.task.slices;
            self.task.habit.learn(slices.used_up(), slices.time());
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
