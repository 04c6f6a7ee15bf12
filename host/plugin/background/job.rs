//! One call in the background, from the moment it goes there to its end.
//!
//! Threads of the idle class get next to nothing of processors that others want all the time, and a job whose
//! turn one of them has makes no progress then. So one more thread, of ordinary priority, watches: while no turn
//! comes to its end it takes turns in their stead, but rests after each, and a thread that got its processor
//! too late steps aside for a while. What computes is slow then, but goes on.
//!
//! What idle threads share with others is locked by the standard library, which gives a lock to whoever runs. Those of
//! `parking_lot` hand it over to the thread that has waited longest, and if that one has no processor, all wait for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::Work;
use super::turns::{Place, Turns};
use crate::capability::Namespace;
use crate::observe::metrics::thread_cpu_time;

/// When jobs wait and no turn has ended for so long, the idle threads have no processor. Many turns.
const STARVED: Duration = Duration::from_millis(50);

/// Between two turns of the thread that helps: with turns of one tick it takes at most about a tenth of one
/// processor from those that serve.
const REST: Duration = Duration::from_millis(9);

/// How long an idle thread that had no processor takes no job, and leaves them to the thread that helps.
const ASIDE: Duration = Duration::from_secs(1);

/// The jobs that wait for a turn, and the threads that wait for jobs.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// For the idle threads: a job waits.
    changed: Condvar,
    /// For the thread that helps, while it has nothing to watch: a job waits.
    watch: Condvar,
    /// For idle threads that have stepped aside: the queue is closed.
    aside: Condvar,
}

struct Waiting {
    turns: Turns<Arc<Job>>,
    /// Idle threads that have not stepped aside.
    idle_threads: usize,
    /// When one of them last ended a turn in time, or the first job began to wait.
    progress: Instant,
    /// The thread that helps is to be told of the next job.
    tell_helper: bool,
    /// The threads end, and whatever waits is dropped.
    closed: bool,
}

impl Queue {
    /// For so many threads of the idle class.
    pub(super) fn new(idle_threads: usize) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                turns: Turns::default(),
                idle_threads,
                progress: Instant::now(),
                tell_helper: false,
                closed: false,
            }),
            changed: Condvar::new(),
            watch: Condvar::new(),
            aside: Condvar::new(),
        }
    }

    /// Runs jobs on the calling thread, of the idle class, until the queue is closed.
    pub(super) fn work(&self) {
        while let Some(job) = self.next() {
            let began = Instant::now();
            let used = job.run();
            let now = Instant::now();
            let mut waiting = lock(&self.waiting);
            if now - began <= used + STARVED {
                waiting.progress = now;
            } else if !waiting.closed {
                waiting.idle_threads -= 1;
                let aside = self.aside.wait_timeout(waiting, ASIDE);
                waiting = aside.unwrap_or_else(PoisonError::into_inner).0;
                waiting.idle_threads += 1;
            }
        }
    }

    /// Runs jobs on the calling thread, of ordinary priority, while those of the idle class cannot, until
    /// the queue is closed.
    pub(super) fn help(&self) {
        while let Some(job) = self.neglected() {
            job.run();
            std::thread::sleep(REST);
        }
    }

    fn next(&self) -> Option<Arc<Job>> {
        let mut waiting = lock(&self.waiting);
        while !waiting.closed {
            match waiting.turns.next(Instant::now()) {
                Some(job) => return Some(job),
                None => waiting = wait(&self.changed, waiting),
            }
        }
        None
    }

    /// The next job, once the idle threads are starved.
    fn neglected(&self) -> Option<Arc<Job>> {
        let mut waiting = lock(&self.waiting);
        while !waiting.closed {
            let now = Instant::now();
            let starved = waiting.progress + STARVED;
            if waiting.turns.is_empty() {
                waiting.tell_helper = true;
                waiting = wait(&self.watch, waiting);
            } else if waiting.idle_threads > 0 && now < starved {
                let watched = self.watch.wait_timeout(waiting, starved - now);
                waiting = watched.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                return waiting.turns.next(now);
            }
        }
        None
    }

    /// The job waits for a turn.
    fn put(&self, waiting: &mut Waiting, place: Place, job: Arc<Job>) {
        waiting.turns.wait(place, job);
        if std::mem::take(&mut waiting.tell_helper) {
            self.watch.notify_one();
        }
    }

    /// See [`Turns::expected_wait`].
    pub(super) fn expected_wait(&self, plugin: &Namespace, usual: Duration) -> Option<Duration> {
        lock(&self.waiting).turns.expected_wait(plugin, usual)
    }

    pub(super) fn close(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.closed = true;
        let dropped = waiting.turns.drain();
        drop(waiting);
        self.changed.notify_all();
        self.watch.notify_all();
        self.aside.notify_all();
        drop(dropped);
    }
}

/// Whether or not a thread has panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'l, T>(condition: &Condvar, locked: MutexGuard<'l, T>) -> MutexGuard<'l, T> {
    condition.wait(locked).unwrap_or_else(PoisonError::into_inner)
}

/// Work with its place among all that wait.
pub(super) struct Job {
    /// None once it has ended or was withdrawn. Locked while it runs.
    work: parking_lot::Mutex<Option<Work<()>>>,
    withdrawn: AtomicBool,
    stand: Mutex<Stand>,
    queue: Arc<Queue>,
    /// Has the timers and connections that the work waits for.
    runtime: Handle,
}

struct Stand {
    place: Place,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// For something else than a processor.
    Waits,
    InQueue,
    Runs,
    /// Something that it waits for has happened meanwhile.
    RunsAgain,
    Ended,
}

impl Job {
    /// Puts `work` into the queue, which usually uses so much of a processor. It is dropped with what is
    /// returned.
    pub(super) fn start(queue: &Arc<Queue>, plugin: &Namespace, usual: Duration, work: Work<()>) -> Withdraw {
        let place = lock(&queue.waiting).turns.place(plugin, usual);
        let job = Arc::new(Self {
            work: parking_lot::Mutex::new(Some(work)),
            withdrawn: AtomicBool::new(false),
            stand: Mutex::new(Stand {
                place,
                state: State::Waits,
            }),
            queue: queue.clone(),
            runtime: Handle::current(),
        });
        job.wake_by_ref();
        Withdraw(job)
    }

    /// One turn, until the work waits for something or its time slice is over. Gives what it used of a
    /// processor.
    fn run(self: &Arc<Self>) -> Duration {
        let began = thread_cpu_time();
        lock(&self.stand).state = State::Runs;
        // A panic is the end of this one job. Who waits for it learns that it is gone.
        let ended = catch_unwind(AssertUnwindSafe(|| self.poll())).unwrap_or(true);
        if ended || self.withdrawn.load(Ordering::SeqCst) {
            let _ = catch_unwind(AssertUnwindSafe(|| self.end()));
        }
        let time = thread_cpu_time().saturating_sub(began);
        let mut stand = lock(&self.stand);
        let mut waiting = lock(&self.queue.waiting);
        waiting.turns.used(&mut stand.place, time);
        match stand.state {
            State::Runs => stand.state = State::Waits,
            State::RunsAgain if !waiting.closed => {
                stand.state = State::InQueue;
                self.queue.put(&mut waiting, stand.place, self.clone());
            }
            _ => {}
        }
        time
    }

    /// Whether it has ended.
    fn poll(self: &Arc<Self>) -> bool {
        let _runtime = self.runtime.enter();
        let waker = Waker::from(self.clone());
        let mut work = self.work.lock();
        match work.as_mut() {
            Some(work) => work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready(),
            None => true,
        }
    }

    /// Drops the work, unless it is running at this moment on another thread, which does so then.
    fn end(&self) {
        let Some(mut running) = self.work.try_lock() else {
            return;
        };
        let work = running.take();
        drop(running);
        let mut stand = lock(&self.stand);
        if stand.state == State::InQueue {
            lock(&self.queue.waiting).turns.leave(stand.place);
        }
        stand.state = State::Ended;
        drop(stand);
        let _runtime = self.runtime.enter();
        drop(work);
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut stand = lock(&self.stand);
        match stand.state {
            State::Waits => {
                stand.state = State::InQueue;
                let mut waiting = lock(&self.queue.waiting);
                if !waiting.closed {
                    // Nobody was kept from a turn before. One that has just had a turn waits on.
                    if waiting.turns.is_empty() {
                        waiting.progress = waiting.progress.max(Instant::now());
                    }
                    self.queue.put(&mut waiting, stand.place, self.clone());
                    drop(waiting);
                    self.queue.changed.notify_one();
                }
            }
            State::Runs => stand.state = State::RunsAgain,
            State::InQueue | State::RunsAgain | State::Ended => {}
        }
    }
}

/// Ends a job whose caller went away. One that waits for its turn, or for anything else, ends here and now
/// and frees its sandbox; one that is running is dropped by its thread after its turn.
pub(super) struct Withdraw(Arc<Job>);

impl Drop for Withdraw {
    fn drop(&mut self) {
        self.0.withdrawn.store(true, Ordering::SeqCst);
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an idle thread that never gets a processor, and one job that computes without end.
    #[tokio::test]
    async fn the_thread_that_helps_waits_once_for_idle_threads_without_a_processor() {
        let queue = Arc::new(Queue::new(1));
        let turns = Arc::new(Mutex::new(0));
        let count = turns.clone();
        let work = std::future::poll_fn(move |context| {
            *lock(&count) += 1;
            context.waker().wake_by_ref();
            std::task::Poll::<()>::Pending
        });
        let plugin = Namespace::new("plugin").expect("a name");
        let job = Job::start(&queue, &plugin, Duration::ZERO, Box::pin(work));
        let began = lock(&queue.waiting).progress;
        for turn in 1..=20 {
            let job = queue.neglected().expect("the job");
            assert!(began.elapsed() >= STARVED);
            job.run();
            assert_eq!(*lock(&turns), turn);
            assert_eq!(lock(&queue.waiting).progress, began, "no idle thread had a turn");
        }
        drop(job);
        queue.close();
    }
}
