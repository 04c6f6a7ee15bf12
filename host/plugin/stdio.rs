//! A guest's stdout and stderr become lines in the operator's log, each bounded, at most so many per call.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::observe::printable;

/// How much a guest may say.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// Bytes of one line; the rest is cut.
    pub line_bytes: usize,
    /// Lines of one call, from stdout, stderr and the log import together.
    pub lines_per_call: u32,
}

/// The lines one call has left, shared by its three ways to log.
#[derive(Debug)]
pub struct LineBudget {
    limits: LogLimits,
    left: u32,
    dropped: u32,
}

/// Shared by the store and the streams of one sandbox.
pub type SharedBudget = Arc<Mutex<LineBudget>>;

impl LineBudget {
    /// A full budget.
    pub fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            left: limits.lines_per_call,
            dropped: 0,
        }
    }

    /// Fills it again, for the next call of a reused sandbox.
    pub fn refill(&mut self) {
        *self = Self::new(self.limits);
    }

    /// Takes one line and returns how long it may be, or counts it as dropped.
    pub fn take(&mut self) -> Option<usize> {
        if self.left == 0 {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        self.left -= 1;
        Some(self.limits.line_bytes)
    }

    /// Lines that did not fit since this was last asked.
    pub fn take_dropped(&mut self) -> u32 {
        std::mem::take(&mut self.dropped)
    }
}

/// Which stream a line came from.
#[derive(Debug, Clone, Copy)]
pub enum Stream {
    /// Logged at level info.
    Stdout,
    /// Logged at level warn.
    Stderr,
}

/// One of a guest's two output streams.
#[derive(Clone)]
pub struct GuestOutput {
    stream: Stream,
    budget: SharedBudget,
    line: Arc<Mutex<Vec<u8>>>,
}

impl GuestOutput {
    /// Lines count against `budget`.
    pub fn new(stream: Stream, budget: SharedBudget) -> Self {
        Self {
            stream,
            budget,
            line: Arc::default(),
        }
    }

    /// Runs within the call's span: streams are written while the guest runs.
    fn push(&self, bytes: &[u8]) {
        let mut line = self.line.lock();
        let max_bytes = self.budget.lock().limits.line_bytes;
        for byte in bytes {
            if *byte == b'\n' {
                self.emit(&line);
                line.clear();
            } else if line.len() <= max_bytes {
                line.push(*byte);
            }
        }
    }

    /// What stands on an unfinished line, when the call has ended.
    pub fn finish(&self) {
        let line = std::mem::take(&mut *self.line.lock());
        if !line.is_empty() {
            self.emit(&line);
        }
    }

    fn emit(&self, line: &[u8]) {
        let Some(max_bytes) = self.budget.lock().take() else {
            return;
        };
        let line = printable(&String::from_utf8_lossy(line), max_bytes);
        match self.stream {
            Stream::Stdout => tracing::info!(target: "mortise::guest::stdout", "{line}"),
            Stream::Stderr => tracing::warn!(target: "mortise::guest::stderr", "{line}"),
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl tokio::io::AsyncWrite for GuestOutput {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.push(bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}
