//! Calls that are served by the task of their connection.
//!
//! A call is a task of its own, which an idle worker thread may take up. Where none is idle, that only costs: the
//! call goes through a queue, its answer wakes the connection's task, and each answer is a write of its own. So then
//! a connection's task serves the calls it reads, and writes the answers of the whole batch at once.
//!
//! Whatever has to wait goes on in a task of its own, and what may take longer than a batch should begins there, by
//! [`leave`]. So a batch ends with its last brief call after `MOST`.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// For so long a batch takes calls and holds their answers back.
const MOST: Duration = Duration::from_micros(500);

/// Of the runtimes that [`count_idle_workers`] was told of: those of one process share its processors.
static IDLE_WORKERS: AtomicUsize = AtomicUsize::new(0);

/// Has the runtime's idle worker threads counted. Those of others are taken for busy.
pub(crate) fn count_idle_workers(runtime: &mut tokio::runtime::Builder) {
    runtime
        .on_thread_park(|| {
            IDLE_WORKERS.fetch_add(1, Ordering::Relaxed);
        })
        .on_thread_unpark(|| {
            IDLE_WORKERS.fetch_sub(1, Ordering::Relaxed);
        });
}

/// Completes in a task of the call's own: at once, if it has one.
pub(crate) async fn leave() {
    // What is pending in a batch gets a task, which polls it again.
    std::future::poll_fn(|_| match Batch::current() {
        Some(batch) if batch.serving => Poll::Pending,
        _ => Poll::Ready(()),
    })
    .await;
}

/// What one run of a connection's task has done so far. First it reads, and may serve; if it has served, it writes,
/// and reads nothing meanwhile.
#[derive(Debug, Clone, Copy)]
struct Batch {
    began: Instant,
    /// A call is being served.
    serving: bool,
    /// There are answers to be written together.
    served: bool,
    /// There was nothing more to read. The task is woken when there is.
    drained: bool,
    writing: bool,
    /// A write was put off while reading, or a read while writing.
    put_off: bool,
}

thread_local! {
    static BATCH: Cell<Option<Batch>> = const { Cell::new(None) };
}

impl Batch {
    fn current() -> Option<Self> {
        BATCH.get()
    }

    /// Does nothing outside of a batch.
    fn change(change: impl FnOnce(&mut Self)) {
        if let Some(mut batch) = BATCH.get() {
            change(&mut batch);
            BATCH.set(Some(batch));
        }
    }

    fn is_over(&self) -> bool {
        self.began.elapsed() >= MOST
    }

    fn takes_calls(&self) -> bool {
        !self.writing && IDLE_WORKERS.load(Ordering::Relaxed) == 0 && !self.is_over()
    }

    fn holds_writes(&self) -> bool {
        self.served && !self.writing && !self.is_over()
    }
}

/// Ends the batch, also if the connection panics.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        BATCH.set(None);
    }
}

pin_project! {
    /// A connection whose calls may be served in batches.
    pub(super) struct Batched<C> {
        #[pin]
        connection: C,
    }
}

impl<C> Batched<C> {
    /// Of a connection that has an [`InlineExecutor`] and a [`BatchedIo`].
    pub(super) fn new(connection: C) -> Self {
        Self { connection }
    }

    /// The connection itself.
    pub(super) fn connection(self: Pin<&mut Self>) -> Pin<&mut C> {
        self.project().connection
    }
}

impl<C: Future> Future for Batched<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let mut connection = self.connection();
        let _end = End;
        BATCH.set(Some(Batch {
            began: Instant::now(),
            serving: false,
            served: false,
            drained: false,
            writing: false,
            put_off: false,
        }));
        let polled = connection.as_mut().poll(cx);
        if polled.is_ready() || !Batch::current().is_some_and(|batch| batch.put_off) {
            return polled;
        }
        Batch::change(|batch| {
            batch.writing = true;
            batch.put_off = false;
        });
        let polled = connection.poll(cx);
        if Batch::current().is_some_and(|batch| batch.put_off) {
            cx.waker().wake_by_ref();
        }
        polled
    }
}

/// Serves a connection's calls in its batches, or else in tasks.
#[derive(Debug, Clone, Copy)]
pub(super) struct InlineExecutor;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for InlineExecutor {
    fn execute(&self, call: F) {
        if !Batch::current().is_some_and(|batch| batch.takes_calls()) {
            tokio::spawn(call);
            return;
        }
        let mut call = Box::pin(call);
        if serve(call.as_mut()).is_pending() {
            tokio::spawn(call);
        }
    }
}

fn serve(call: Pin<&mut impl Future<Output = ()>>) -> Poll<()> {
    Batch::change(|batch| batch.serving = true);
    // Nobody is woken for it: if it is pending, its task polls it again.
    let mut cx = Context::from_waker(Waker::noop());
    // A panic ends the call and nothing else, as it would in a task.
    let polled = catch_unwind(AssertUnwindSafe(|| call.poll(&mut cx)));
    Batch::change(|batch| {
        batch.serving = false;
        batch.served = true;
    });
    polled.unwrap_or(Poll::Ready(()))
}

/// The bytes of a connection, which puts off what its batch does not do yet.
pub(super) struct BatchedIo<S>(pub(super) S);

impl<S: AsyncRead + Unpin> AsyncRead for BatchedIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if Batch::current().is_some_and(|batch| batch.writing) {
            Batch::change(|batch| batch.put_off |= !batch.drained);
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.get_mut().0).poll_read(cx, buffer);
        Batch::change(|batch| batch.drained = polled.is_pending());
        polled
    }
}

impl<S> BatchedIo<S> {
    /// The bytes to write to, if it is time.
    fn writer(&mut self) -> Poll<Pin<&mut S>>
    where
        S: Unpin,
    {
        if Batch::current().is_some_and(|batch| batch.holds_writes()) {
            Batch::change(|batch| batch.put_off = true);
            return Poll::Pending;
        }
        Poll::Ready(Pin::new(&mut self.0))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BatchedIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.get_mut().writer()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.get_mut().writer()).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
