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

/// What a guest says during one call, and how much more it may say: on stdout, stderr and by the log import
/// together.
#[derive(Debug)]
pub struct Output {
    limits: LogLimits,
    left: u32,
    dropped: u32,
    /// Lines that are not finished.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// One of a guest's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Logged at level info.
    Stdout,
    /// Logged at level warn.
    Stderr,
}

impl Output {
    /// Nothing is said yet.
    pub fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            left: limits.lines_per_call,
            dropped: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }

    /// Takes one line and returns how long it may be, or counts it as dropped.
    pub fn take_line(&mut self) -> Option<usize> {
        if self.left == 0 {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        self.left -= 1;
        Some(self.limits.line_bytes)
    }

    /// Runs within the call's span: streams are written while the guest runs.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let max_bytes = self.limits.line_bytes;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let line = self.line(stream);
            // One byte more than is shown tells that it was cut.
            let room = (max_bytes + 1).saturating_sub(line.len());
            line.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < part.len() {
                self.emit(stream);
            }
        }
    }

    /// The call has ended: logs what stands on unfinished lines, and fills the budget again for the next call of a
    /// reused sandbox. Says how many lines were dropped.
    pub fn finish(&mut self) -> u32 {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.line(stream).is_empty() {
                self.emit(stream);
            }
        }
        self.left = self.limits.lines_per_call;
        std::mem::take(&mut self.dropped)
    }

    fn line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn emit(&mut self, stream: Stream) {
        let line = std::mem::take(self.line(stream));
        let Some(max_bytes) = self.take_line() else {
            return;
        };
        let line = printable(&String::from_utf8_lossy(&line), max_bytes);
        match stream {
            Stream::Stdout => tracing::info!(target: "mortise::guest::stdout", "{line}"),
            Stream::Stderr => tracing::warn!(target: "mortise::guest::stderr", "{line}"),
        }
    }
}

/// Shared by the store and the streams of one sandbox.
pub type SharedOutput = Arc<Mutex<Output>>;

/// A stream, as WASI's implementation for components wants it.
#[derive(Clone)]
pub struct GuestOutput {
    stream: Stream,
    output: SharedOutput,
}

impl GuestOutput {
    /// What is written to it goes to `output`.
    pub fn new(stream: Stream, output: SharedOutput) -> Self {
        Self { stream, output }
    }

    fn push(&self, bytes: &[u8]) {
        self.output.lock().push(self.stream, bytes);
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
