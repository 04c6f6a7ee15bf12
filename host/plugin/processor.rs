//! Time that work holds a processor.
//!
//! On the serving threads it is the clock's time: asking the system for a thread's own processor time costs more
//! than a short call may, and work holds such a thread for a few milliseconds at most. In the background, where
//! threads of the lowest priority are set aside for as long as others have something to do, it is the
//! thread's processor time.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

use crate::observe::metrics::thread_cpu_time;

thread_local! {
    static IS_BACKGROUND: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread is one of the background.
pub(super) fn enter_background() {
    IS_BACKGROUND.set(true);
}

/// The calling thread runs on what others leave of the processors: it is of the scheduler's class for idle work,
/// because a thread that is merely nice may keep its processor for whole milliseconds when another one wakes up.
pub(super) fn lower_priority() -> Result<(), thread_priority::Error> {
    // A thread may always lower itself.
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle)
}

/// Runs `work` and tells `used`, each time that it lets go of its thread, for how long it had it.
pub fn measured<F: Future>(work: F, used: impl Fn(Duration)) -> impl Future<Output = F::Output> {
    Measured { work, used }
}

pin_project! {
    /// Not an `async` function, which would hold `work` twice: as its argument, and where it is pinned.
    struct Measured<F, U> {
        #[pin]
        work: F,
        used: U,
    }
}

impl<F: Future, U: Fn(Duration)> Future for Measured<F, U> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let began = Stretch::begin();
        let poll = this.work.poll(cx);
        (this.used)(began.end());
        poll
    }
}

enum Stretch {
    Clock(Instant),
    Processor(Duration),
}

impl Stretch {
    fn begin() -> Self {
        match IS_BACKGROUND.get() {
            false => Self::Clock(Instant::now()),
            true => Self::Processor(thread_cpu_time()),
        }
    }

    fn end(self) -> Duration {
        match self {
            Self::Clock(began) => began.elapsed(),
            Self::Processor(before) => thread_cpu_time().saturating_sub(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    async fn measure(work: impl Future<Output = ()>) -> (usize, Duration) {
        let stretches = Mutex::new(Vec::new());
        measured(work, |time| stretches.lock().push(time)).await;
        let stretches = stretches.into_inner();
        (stretches.len(), stretches.iter().sum())
    }

    #[tokio::test]
    async fn waiting_takes_no_processor() {
        let work = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let (stretches, time) = measure(work).await;
        assert!(stretches >= 2 && time < Duration::from_millis(100), "{time:?}");
    }

    #[test]
    fn in_the_background_being_set_aside_does_not_count() {
        let thread = std::thread::spawn(|| {
            enter_background();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            // A thread that sleeps has no processor, as one that is set aside.
            runtime.block_on(measure(async {
                std::thread::sleep(Duration::from_millis(200));
            }))
        });
        let (stretches, time) = thread.join().expect("no panic");
        assert!(stretches == 1 && time < Duration::from_millis(100), "{time:?}");
    }
}
