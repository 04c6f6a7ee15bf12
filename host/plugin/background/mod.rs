//! Where calls go that use up their time slices, so that they do not hold up those that do not.
//!
//! A call begins on the thread that serves its connection, because most end within microseconds; where those of
//! its method do not, it takes turns there, as `line.rs` says. A guest that computes on is interrupted by the
//! engine's ticks, and after `SLICES` of them its sandbox moves, as it is, to a few threads of lower priority: those
//! run whatever of the processors the serving threads leave, in turns of one tick, and `turns.rs` says whose turn it
//! is. If the serving threads, or other programs, leave next to nothing, one more thread sees to it that what
//! computes goes on all the same. Calls of a method that keeps computing begin there.

mod habit;
mod job;
mod line;
mod turns;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::capability::Namespace;
use crate::deadline::Deadline;
use crate::observe::CallSpan;

pub use habit::Habit;
use habit::Lesson;
use job::{Job, Queue};
use line::Line;

/// Ticks after which a call moves. The first may come at once, because it is the engine's and not the
/// call's own; with the second the guest has held its thread for longer than a whole tick.
const SLICES: u32 = 2;

/// Counts what one call uses of processors. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Slices(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    ticks: AtomicU32,
    nanos: AtomicU64,
}

impl Slices {
    /// One more tick.
    pub fn used_one(&self) {
        self.0.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them.
    pub fn use_up(&self) {
        self.0.ticks.fetch_add(SLICES, Ordering::Relaxed);
    }

    /// So much more time.
    pub fn used(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn used_up(&self) -> bool {
        self.0.ticks.load(Ordering::Relaxed) >= SLICES
    }

    fn time(&self) -> Duration {
        Duration::from_nanos(self.0.nanos.load(Ordering::Relaxed))
    }
}

/// The threads of lower priority. They end with the last engine.
pub struct Background {
    queue: Arc<Queue>,
    line: Line,
}

/// A call to be run, in a box because it may move from thread to thread.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Of which call some work is.
#[derive(Debug, Clone, Copy)]
pub struct Task<'c> {
    /// Whose turn it takes.
    pub plugin: &'c Namespace,
    /// What its method has been like.
    pub habit: &'c Habit,
    /// What it has used.
    pub slices: &'c Slices,
    /// When nobody waits for it any more.
    pub deadline: Deadline,
}

/// Work that did not run to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRun {
    /// When its first turn came it had not as much time left as such calls take.
    TooLate,
    /// The host is being torn down, or the work panicked.
    Gone,
}

impl Background {
    /// Starts `threads` threads, and the one that helps them.
    ///
    /// # Errors
    /// If the system has no threads left.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let background = Self::idle(threads)?;
        background.spawn(|queue| {
            super::processor::enter_background();
            queue.help();
        })?;
        Ok(background)
    }

    /// Without the thread that helps.
    fn idle(threads: usize) -> std::io::Result<Self> {
        let background = Self {
            queue: Arc::new(Queue::new(threads)),
            line: Line::new(threads),
        };
        for _ in 0..threads {
            background.spawn(|queue| {
                super::processor::enter_background();
                if let Err(error) = super::processor::lower_priority() {
                    tracing::warn!(%error, "calls that compute for long keep the priority of the others");
                }
                queue.work();
            })?;
        }
        Ok(background)
    }

    fn spawn(&self, work: impl FnOnce(&Queue) + Send + 'static) -> std::io::Result<()> {
        let queue = self.queue.clone();
        let thread = std::thread::Builder::new().name("mortise-background".into());
        thread.spawn(move || work(&queue)).map(drop)
    }

    /// How long a call that comes now would take, if it is of a kind that begins here and has to wait for
    /// its turn behind others.
    pub fn expected(&self, plugin: &Namespace, habit: &Habit) -> Option<Duration> {
        if !habit.is_heavy() {
            return None;
        }
        let usual = habit.usual();
        let wait = self.queue.expected_wait(plugin, usual)?;
        Some(wait.saturating_add(usual))
    }

    /// Runs `work` on the calling thread until it ends or its slices are used up, and from then on here; all
    /// of it here if that is the method's habit.
    ///
    /// Dropping the future drops the work: at once, or if it is running at that moment, with its next tick.
    /// So no more calls than there are threads outlive their callers.
    ///
    /// # Errors
    /// If the work is not run, or not to its end.
    pub async fn run<T: Send + 'static>(&self, task: Task<'_>, mut work: Work<T>) -> Result<T, NotRun> {
        let mut lesson = Lesson::of(task);
        if task.habit.is_heavy() {
            let output = self.begin(task, work).await?;
            lesson.learn();
            task.habit.used(task.slices.time());
            return Ok(output);
        }
        let used_up = || task.slices.used_up();
        let ended = if task.habit.is_brief() {
            let ended = std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if used_up() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            ended.await
        } else {
            self.line.run(work.as_mut(), used_up).await
        };
        // Now, because a call without an end teaches nothing at its end.
        lesson.learn();
        if let Some(output) = ended {
            return Ok(output);
        }
        let output = self.finish(task, work).await?;
        task.habit.used(task.slices.time());
        Ok(output)
    }

    /// All of it here.
    async fn begin<T: Send + 'static>(&self, task: Task<'_>, work: Work<T>) -> Result<T, NotRun> {
        let (deadline, usual) = (task.deadline, task.habit.usual());
        // With nobody before it, it may try.
        let waits = self.queue.expected_wait(task.plugin, usual).is_some();
        let needed = if waits { usual } else { Duration::ZERO };
        let work = async move {
            match deadline.remaining() {
                Some(left) if left < needed => Err(NotRun::TooLate),
                _ => Ok(work.await),
            }
        };
        self.finish(task, Box::pin(work)).await?
    }

    /// The rest of it here.
    async fn finish<T: Send + 'static>(&self, task: Task<'_>, work: Work<T>) -> Result<T, NotRun> {
        let (send, receive) = oneshot::channel();
        let work = async move {
            // Nobody waits for it if it was withdrawn in this moment.
            let _ = send.send(work.await);
        };
        // What it logs stays within the call's span.
        let work = Box::pin(CallSpan::follow(work));
        let _withdraw = Job::start(&self.queue, task.plugin, task.habit.usual(), work);
        receive.await.map_err(|_| NotRun::Gone)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Not waiting for its threads, which is not allowed on a thread that serves.
        self.queue.close();
    }
}

#[cfg(test)]
mod tests;
