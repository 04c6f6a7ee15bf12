//! Where calls go that use up their time slices, so that they do not hold up those that do not.
//!
//! A call begins on the thread that serves its connection, because most end within microseconds. A guest
//! that computes on is interrupted by the engine's ticks, and after `SLICES` of them its sandbox moves, as
//! it is, to a few threads of lower priority: those run whatever of the processors the serving threads
//! leave, in turns of one tick. Calls of a method that keeps doing so begin there.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::Poll;

use parking_lot::Mutex;
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tracing::Instrument;

/// Ticks after which a call moves. The first may come at once, because it is the engine's and not the
/// call's own; with the second the guest has held its thread for longer than a whole tick.
const SLICES: u32 = 2;

/// Counts the slices of one call. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Slices(Arc<AtomicU32>);

impl Slices {
    /// One more.
    pub fn used_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them.
    pub fn use_up(&self) {
        self.0.fetch_add(SLICES, Ordering::Relaxed);
    }

    fn used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= SLICES
    }
}

/// What calls of one method have been like lately: a score that a call which used up its slices raises by
/// `RAISE`, and any other lowers by 1. So a method counts as heavy after two such calls, while
/// at least one in three is, and no longer after a few that are not.
#[derive(Debug, Default)]
pub struct Habit(AtomicU8);

impl Habit {
    const RAISE: u8 = 2;
    const HEAVY: u8 = 4;
    const MOST: u8 = 8;

    fn is_heavy(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::HEAVY
    }

    fn learn(&self, used_up: bool) {
        let score = self.0.load(Ordering::Relaxed);
        let learnt = match used_up {
            true => (score + Self::RAISE).min(Self::MOST),
            false => score.saturating_sub(1),
        };
        // Most calls end early and find nothing to unlearn. One lesson lost between two threads is no harm.
        if learnt != score {
            self.0.store(learnt, Ordering::Relaxed);
        }
    }
}

/// What a call teaches when it ends, or is dropped, unless it has taught it before.
struct Lesson<'a> {
    habit: &'a Habit,
    slices: &'a Slices,
    learnt: bool,
}

impl Lesson<'_> {
    fn learn(&mut self) {
        if !std::mem::replace(&mut self.learnt, true) {
            self.habit.learn(self.slices.used_up());
        }
    }
}

impl Drop for Lesson<'_> {
    fn drop(&mut self) {
        self.learn();
    }
}

/// The threads of lower priority: they are of the scheduler's class for idle work, because a thread that is
/// merely nice may keep its processor for whole milliseconds when another one wakes up. They end with the last engine.
pub struct Background {
    /// None only while it is being dropped.
    runtime: Option<Runtime>,
}

/// A call to be run, in a box because it may move from thread to thread.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Work that its caller can take back unless it is running at that moment.
type Job<T> = Arc<Mutex<Option<Work<T>>>>;

impl Background {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// If the system has no threads left.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .thread_name("mortise-background")
            .on_thread_start(|| {
                super::processor::enter_background();
                // A thread may always lower itself.
                let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
                let lowered = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
                if let Err(error) = lowered {
                    tracing::warn!(%error, "calls that compute for long keep the priority of the others");
                }
            })
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
        })
    }

    /// Runs `work` on the calling thread until it ends or its slices are used up, and from then on here; all
    /// of it here if that is the method's habit.
    ///
    /// Dropping the future drops the work: at once, or if it is running at that moment, with its next tick.
    /// So no more calls than there are threads outlive their callers.
    pub async fn run<T: Send + 'static>(
        &self,
        slices: &Slices,
        habit: &Habit,
        mut work: Work<T>,
    ) -> Option<T> {
        let mut lesson = Lesson {
            habit,
            slices,
            learnt: false,
        };
        if habit.is_heavy() {
            return self.finish(work).await;
        }
        let ended = std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if slices.used_up() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match ended.await {
            Some(output) => Some(output),
            None => {
                // Now, because a call without an end teaches nothing at its end.
                lesson.learn();
                self.finish(work).await
            }
        }
    }

    /// None if the host is being torn down.
    async fn finish<T: Send + 'static>(&self, work: Work<T>) -> Option<T> {
        // What it logs stays within the call's span.
        let job: Job<T> = Arc::new(Mutex::new(Some(Box::pin(work.in_current_span()))));
        let (send, receive) = oneshot::channel();
        let task = self.runtime.as_ref()?.spawn(drive(job.clone(), send));
        let _withdraw = Withdraw {
            job,
            task: task.abort_handle(),
        };
        receive.await.ok()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waiting for its threads, which is not allowed on a thread that serves.
            runtime.shutdown_background();
        }
    }
}

/// Polls a job to its end, if it is not withdrawn before.
async fn drive<T>(job: Job<T>, send: oneshot::Sender<T>) {
    let output = std::future::poll_fn(|cx| {
        let mut work = job.lock();
        let Some(running) = work.as_mut() else {
            return Poll::Ready(None);
        };
        let output = std::task::ready!(running.as_mut().poll(cx));
        *work = None;
        Poll::Ready(Some(output))
    });
    if let Some(output) = output.await {
        // Nobody waits for it if it was withdrawn in this moment.
        let _ = send.send(output);
    }
}

/// Ends a job whose caller went away. One that waits for its turn, or for anything else, ends here and now
/// and frees its sandbox; one that is running is dropped by its thread after the poll.
struct Withdraw<T> {
    job: Job<T>,
    task: AbortHandle,
}

impl<T> Drop for Withdraw<T> {
    fn drop(&mut self) {
        let waiting = self.job.try_lock().and_then(|mut work| work.take());
        drop(waiting);
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use thread_priority::unix::thread_schedule_policy;

    fn background() -> Background {
        Background::start(1).expect("a thread")
    }

    /// Yields for ever, as an endless loop does at every tick.
    async fn looping(slices: Slices, alive: Arc<()>) {
        loop {
            slices.used_one();
            tokio::task::yield_now().await;
            assert!(Arc::strong_count(&alive) > 0);
        }
    }

    async fn until(what: &str, is: impl Fn() -> bool) {
        let waiting = async {
            while !is() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        assert!(waited.is_ok(), "{what}");
    }

    #[tokio::test]
    async fn short_work_stays_on_its_thread() {
        let here = std::thread::current().id();
        let (background, slices, habit) = (background(), Slices::default(), Habit::default());
        let ran = background.run(
            &slices,
            &habit,
            Box::pin(async {
                tokio::task::yield_now().await;
                std::thread::current().id()
            }),
        );
        assert_eq!(ran.await, Some(here));
    }

    #[tokio::test]
    async fn long_work_moves_to_a_thread_of_lower_priority() {
        let slices = Slices::default();
        let counted = slices.clone();
        let (background, habit) = (background(), Habit::default());
        let ran = background.run(
            &slices,
            &habit,
            Box::pin(async move {
                for _ in 0..SLICES {
                    counted.used_one();
                    tokio::task::yield_now().await;
                }
                thread_schedule_policy().expect("this thread has a policy")
            }),
        );
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        assert_eq!(ran.await, Some(idle));
    }

    #[tokio::test]
    async fn methods_that_are_heavy_begin_in_the_background_until_they_are_light() {
        let here = std::thread::current().id();
        let (background, habit) = (background(), Habit::default());
        let call = async |heavy: bool| {
            let slices = Slices::default();
            let counted = slices.clone();
            let ran = background.run(
                &slices,
                &habit,
                Box::pin(async move {
                    let began = std::thread::current().id();
                    for _ in 0..if heavy { SLICES } else { 0 } {
                        counted.used_one();
                        tokio::task::yield_now().await;
                    }
                    began
                }),
            );
            ran.await.expect("an end") == here
        };
        assert!(call(false).await);
        assert!(call(true).await && call(true).await);
        assert!(!call(true).await && !call(true).await);
        let mut light = 0;
        while !call(false).await {
            light += 1;
            assert!(light < 10);
        }
        assert!(light > 1);
    }

    #[tokio::test]
    async fn work_ends_with_its_caller_also_while_others_hold_the_thread() {
        let background = Arc::new(background());
        let alive = Arc::new(());
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let (background, alive) = (background.clone(), alive.clone());
                tokio::spawn(async move {
                    let (slices, habit) = (Slices::default(), Habit::default());
                    background
                        .run(&slices, &habit, Box::pin(looping(slices.clone(), alive)))
                        .await
                })
            })
            .collect();
        until("all of them run", || Arc::strong_count(&alive) == 101).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        for caller in &callers {
            caller.abort();
        }
        until("all of them are gone", || Arc::strong_count(&alive) == 1).await;
    }
}
