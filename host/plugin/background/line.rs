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
            // Lets others go first, those too whose bytes have come but were not looked at yet.
            tokio::task::yield_now().await;
            let polled = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
            drop(turn);
            match polled {
                Poll::Ready(output) => return Some(output),
                Poll::Pending if over() => return None,
                // What was polled wakes the task.
                Poll::Pending => until_polled_again().await,
            }
        }
    }
}

async fn until_polled_again() {
    let mut polled = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut polled, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::io::AsyncReadExt as _;
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
    async fn what_has_come_goes_first() {
        let (line, order) = (line(), Arc::new(Mutex::new(Vec::new())));
        let note = |what: &'static str| {
            let order = order.clone();
            move || order.lock().push(what)
        };
        let (client, server) = std::os::unix::net::UnixStream::pair().expect("sockets");
        server.set_nonblocking(true).expect("it can");
        let mut server = tokio::net::UnixStream::from_std(server).expect("a runtime");
        let noted = note("short");
        let short = tokio::spawn(async move {
            server.read_u8().await.expect("a byte");
            noted();
        });
        // It reads from now on.
        yield_now().await;
        let computing: Vec<_> = ["first", "second", "third", "fourth"]
            .into_iter()
            .map(|name| {
                let (line, noted) = (line.clone(), note(name));
                let byte = (name == "first").then(|| client.try_clone().expect("it can"));
                tokio::spawn(async move {
                    let work = async {
                        noted();
                        if let Some(mut client) = byte {
                            client.write_all(&[7]).expect("there is room");
                        }
                    };
                    run(&line, work).await;
                })
            })
            .collect();
        for task in computing.into_iter().chain([short]) {
            task.await.expect("no panic");
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
