//! How calls take the threads that serve, if they hold them for longer than microseconds.
//!
//! A runtime runs its tasks in the order in which they become ready, so that behind several calls of a millisecond
//! each one of ten microseconds waits for milliseconds. Therefore no more of them are ready at a time than there
//! are threads, the others wait in a line; and each lets everything go first that is ready when its turn comes. A
//! short call then waits for little more than what runs at that moment, and no processor is idle meanwhile.

use std::pin::Pin;
use std::task::Poll;

use tokio::sync::Semaphore;

/// The line, which holds at most as many calls as are admitted.
pub(super) struct Line {
    turns: Semaphore,
}

impl Line {
    /// For so many threads that serve.
    pub(super) fn new(threads: usize) -> Self {
        Self {
            turns: Semaphore::new(threads.max(1)),
        }
    }

    /// Runs `work` in turns until it ends, or has not ended with a turn after which it is `over`. While it waits for
    /// anything but its turn it is not in the line.
    ///
    /// `work` must not wait for another one of this line: that would have its turn, and not be run.
    pub(super) async fn run<F>(&self, mut work: Pin<&mut F>, over: impl Fn() -> bool) -> Option<F::Output>
    where
        F: Future + ?Sized,
    {
        loop {
            // It is never closed.
            let turn = self.turns.acquire().await.ok();
            let_others_go_first().await;
            let polled = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
            drop(turn);
            match polled {
                Poll::Ready(output) => return Some(output),
                Poll::Pending if over() => return None,
                // What was polled wakes the task.
                Poll::Pending => suspend(|_| {}).await,
            }
        }
    }
}

/// Those too whose bytes have come but were not looked at yet.
async fn let_others_go_first() {
    // Until the thread has nothing else to run and has looked.
    tokio::task::yield_now().await;
    // Of what a thread wakes it runs the last first, but not what wakes itself.
    suspend(std::task::Waker::wake_by_ref).await;
}

/// Until the task is run again, which it tells `how`.
async fn suspend(how: impl FnOnce(&std::task::Waker)) {
    let mut how = Some(how);
    std::future::poll_fn(|cx| match how.take() {
        Some(how) => {
            how(cx.waker());
            Poll::Pending
        }
        None => Poll::Ready(()),
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    /// One thread that serves, as the runtime of these tests has.
    fn line() -> Arc<Line> {
        Arc::new(Line::new(1))
    }

    async fn run<T>(line: &Line, work: impl Future<Output = T>) -> T {
        let ended = line.run(std::pin::pin!(work), || false).await;
        ended.expect("it is never over")
    }

    #[tokio::test]
    async fn a_short_task_waits_for_no_more_than_what_runs() {
        let (line, order) = (line(), Arc::new(Mutex::new(Vec::new())));
        let note = |what: &'static str| {
            let order = order.clone();
            move || order.lock().push(what)
        };
        let short = {
            let note = note("short");
            // Once the thread has looked what bytes have come.
            async move {
                yield_now().await;
                note();
            }
        };
        let first = {
            let (line, note) = (line.clone(), note("first"));
            tokio::spawn(async move {
                let work = async {
                    tokio::spawn(short);
                    note();
                };
                run(&line, work).await;
            })
        };
        let others: Vec<_> = ["second", "third", "fourth"]
            .into_iter()
            .map(|name| {
                let (line, note) = (line.clone(), note(name));
                tokio::spawn(async move { run(&line, async { note() }).await })
            })
            .collect();
        first.await.expect("no panic");
        for other in others {
            other.await.expect("no panic");
        }
        assert_eq!(*order.lock(), ["first", "short", "second", "third", "fourth"]);
    }

    #[tokio::test]
    async fn what_waits_for_something_else_keeps_nobody_from_a_turn() {
        let line = line();
        let (go, wait) = oneshot::channel();
        let waiting = run(&line, async { wait.await.expect("it is told") });
        let going = async {
            run(&line, async {}).await;
            go.send(7).expect("it waits");
        };
        let (told, ()) = tokio::join!(biased; waiting, going);
        assert_eq!(told, 7);
    }

    #[tokio::test]
    async fn who_leaves_the_line_keeps_nobody_from_a_turn() {
        let line = line();
        for turns in 0..8 {
            let leaving = tokio::spawn({
                let line = line.clone();
                async move { run(&line, std::future::pending::<()>()).await }
            });
            for _ in 0..turns {
                yield_now().await;
            }
            leaving.abort();
            run(&line, async {}).await;
        }
    }

    #[tokio::test]
    async fn work_that_is_over_is_not_run_again() {
        let mut polls = 0;
        let mut work = std::pin::pin!(std::future::poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        assert_eq!(line().run(work.as_mut(), || true).await, None);
        assert_eq!(polls, 1);
    }
}
