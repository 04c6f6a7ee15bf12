//! What stands between a client's bytes and hyper: patience with headers that do not come, and none with floods.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::frames::{Calming, FrameBudgets, Frames};
use super::misconduct::Misconduct;
use super::stream::Stream;

/// How long a client that was told to calm down may go on sending. A socket that is closed with bytes unread
/// resets the connection, and the GOAWAY may be lost with it.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes that are read to be thrown away, each time.
const DISCARDED: usize = 16 * 1024;

/// Why the connection is ended, if it is.
pub(super) type Verdict = Arc<OnceLock<Misconduct>>;

/// The decrypted bytes of a connection, as hyper gets them.
pub(super) struct Guarded {
    stream: Stream,
    frames: Frames,
    header_timeout: Duration,
    /// Runs while there is something unfinished, the number of which stands with it, and nothing to read.
    patience: Option<(u64, Pin<Box<Sleep>>)>,
    calming: Option<Calming>,
    linger: Option<Pin<Box<Sleep>>>,
    verdict: Verdict,
}

impl Guarded {
    pub(super) fn new(stream: Stream, budgets: FrameBudgets, header_timeout: Duration) -> (Self, Verdict) {
        let verdict = Verdict::default();
        let guarded = Self {
            stream,
            frames: Frames::new(budgets, Instant::now()),
            header_timeout,
            patience: None,
            calming: None,
            linger: None,
            verdict: verdict.clone(),
        };
        (guarded, verdict)
    }

    /// Hands on what has come of `buffer` from `start` on.
    fn received(&mut self, buffer: &mut ReadBuf<'_>, start: usize) {
        let kept = self.frames.receive(&buffer.filled()[start..]);
        buffer.set_filled(start + kept);
        if let Some(kind) = self.frames.flood() {
            // Set once only, because nothing is received any more.
            let _ = self.verdict.set(Misconduct::Flood(kind));
            self.calming = Some(Calming::after(self.frames.open_block()));
        }
    }

    /// Nothing has come. Fails if what was begun is due.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(number) = self.frames.unfinished() else {
            self.patience = None;
            return Poll::Pending;
        };
        if self.patience.as_ref().is_none_or(|(of, _)| *of != number) {
            let sleep = Box::pin(tokio::time::sleep(self.header_timeout));
            self.patience = Some((number, sleep));
        }
        if let Some((_, sleep)) = &mut self.patience {
            ready!(sleep.as_mut().poll(cx));
        }
        let _ = self.verdict.set(Misconduct::TooSlow);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(calming) = &mut this.calming {
            buffer.put_slice(calming.read(buffer.remaining()));
            return Poll::Ready(Ok(()));
        }
        let start = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                this.received(buffer, start);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => this.poll_patience(cx),
            failed => failed,
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes));
        Poll::Ready(written.inspect(|bytes| this.frames.sent(*bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, buffers));
        Poll::Ready(written.inspect(|bytes| this.frames.sent(*bytes)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.calming.is_none() {
            return Pin::new(&mut this.stream).poll_shutdown(cx);
        }
        let linger = match &mut this.linger {
            Some(linger) => linger,
            None => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                this.linger.insert(Box::pin(tokio::time::sleep(LINGER)))
            }
        };
        if linger.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut space = [0; DISCARDED];
        let mut buffer = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        // Once for each turn of the task: a client that floods must not keep the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
