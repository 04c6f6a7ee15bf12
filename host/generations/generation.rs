//! One loaded version of one plugin.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::native::{self, NativeHandler};
use crate::admission::{Claim, Share, Stay, overloaded};
use crate::capability::Namespace;
use crate::capability::store::Transaction;
use crate::capability::upstream::Refusal;
use crate::metadata::AnswerMetadata;
use crate::observe::metrics::{GenerationMetrics, TrapKind};
use crate::observe::printable;
use crate::plugin::artifact::Digest;
use crate::plugin::background::{Habit, NotRun, Slices, Task};
use crate::plugin::description::Description;
use crate::plugin::instance::{Program, Trapped};
use crate::plugin::pool::{Pool, Reusable};
use crate::plugin::processor::measured;
use crate::plugin::state::{Attempt, CallState, PluginContext};
use crate::policy::MethodPolicy;
use crate::status::{Failure, GuestStatus};

/// A trap's text with its stack, in the log.
const MAX_CAUSE_BYTES: usize = 8 << 10;

/// Immutable once made. Calls hold it while they run; it is dropped after the last of them.
pub struct Generation {
    /// The operator's name for the plugin.
    pub name: Namespace,
    /// Counts up over all plugins of a host, from 1, as they turn live; 0 before that.
    pub number: u64,
    /// Of the component.
    pub digest: Digest,
    /// What the plugin says of itself, checked.
    pub description: Description,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    /// What it counts.
    pub metrics: Arc<GenerationMetrics>,
    pub(super) context: Arc<PluginContext>,
    /// As many as the description has.
    pub(super) methods: Vec<Method>,
    pub(super) share: Arc<Share>,
    /// Present with `isolation = "reuse"`, and where sandboxes can be made as new.
    pub(super) pool: Option<Pool>,
    /// Runs calls instead of the program, in benchmarks.
    pub(super) native: Option<NativeHandler>,
    /// None only while it is being dropped.
    pub(super) program: Option<Program>,
}

/// What the host knows of a method besides its description.
pub(super) struct Method {
    policy: MethodPolicy,
    habit: Habit,
    stay: Stay,
}

impl Method {
    pub(super) fn new(policy: MethodPolicy) -> Self {
        Self {
            policy,
            habit: Habit::default(),
            stay: Stay::default(),
        }
    }
}

/// A handler that ran to its end.
pub struct Finished {
    /// The encoded response with what is to be committed before it is sent, or the handler's own status, with
    /// which nothing is.
    pub outcome: Result<(Vec<u8>, Transaction), GuestStatus>,
    /// What it set.
    pub metadata: AnswerMetadata,
}

impl Generation {
    /// What the operator allows a method, by its index in the description.
    pub fn policy(&self, method: usize) -> &MethodPolicy {
        &self.methods[method].policy
    }

    /// What a call of a method is admitted by.
    pub fn claim(&self, method: usize) -> Claim<'_> {
        let expected = self.expected_time(method);
        let method = &self.methods[method];
        Claim {
            share: &self.share,
            bound: method.policy.bound.as_ref(),
            stay: &method.stay,
            expected,
        }
    }

    /// Runs one attempt in a sandbox: one in which nothing is left of any other, or with `isolation = "reuse"`
    /// one that has served others.
    ///
    /// # Errors
    /// If there is no sandbox, the guest traps or its answer is too large. The sandbox is gone then, as it is
    /// when the future is dropped.
    pub async fn run(
        self: &Arc<Self>,
        attempt: Box<Attempt>,
        method: usize,
        request: Bytes,
    ) -> Result<Finished, Failure> {
        let (slices, deadline) = (Slices::default(), attempt.call.deadline);
        let (metrics, used) = (self.metrics.clone(), slices.clone());
        let work = self
            .clone()
            .run_in_sandbox(attempt, slices.clone(), method, request);
        let work = measured(work, move |time| {
            metrics.used_cpu(method, time);
            used.used(time);
        });
        let task = Task {
            plugin: &self.name,
            habit: &self.methods[method].habit,
            slices: &slices,
            deadline,
        };
        let ran = self.program()?.background().run(task, Box::pin(work)).await;
        ran.unwrap_or_else(|not_run| match not_run {
            NotRun::TooLate => Err(overloaded(self.expected_time(method).unwrap_or_default())),
            NotRun::Gone => Err(unloaded()),
        })
    }

    /// Whether calls of a method have left their thread within microseconds lately.
    pub fn is_brief(&self, method: usize) -> bool {
        self.methods[method].habit.is_brief()
    }

    /// How long a call of a method would take that comes now, if it computes for long and would have to wait.
    fn expected_time(&self, method: usize) -> Option<Duration> {
        let background = self.program.as_ref()?.background();
        background.expected(&self.name, &self.methods[method].habit)
    }

    /// The same on the thread that polls it, however long it computes.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_in_sandbox(
        self: Arc<Self>,
        attempt: Box<Attempt>,
        slices: Slices,
        method: usize,
        request: Bytes,
    ) -> Result<Finished, Failure> {
        if let Some(handler) = self.native {
            return Ok(native::run(handler, &self.context, attempt, method, &request));
        }
        let mut sandbox = match self.pool.as_ref().and_then(Pool::take) {
            Some(mut sandbox) => {
                sandbox.instance().begin(attempt, slices.clone());
                sandbox
            }
            None => {
                let state = CallState::new(self.context.clone(), Some(attempt), slices.clone());
                let made = self.program()?.instantiate(state).await;
                Reusable::fresh(made.map_err(|trap| self.trapped(&trap))?)
            }
        };
        let instance = sandbox.instance();
        // Descriptions are bounded to a few thousand methods.
        let outcome = instance.handle(method as u32, request).await;
        let attempt = instance.finish();
        self.metrics
            .used_memory(instance.memory_bytes(), instance.memory_growths());
        let outcome = outcome.map_err(|trap| {
            // Unwinding and telling it cost more than most calls do.
            slices.use_up();
            self.trapped(&trap)
        })?;
        let attempt = attempt.ok_or_else(|| Failure::Internal {
            cause: "the attempt was lost".into(),
        })?;
        let limit = self.policy(method).max_response_bytes;
        if let Ok(message) = &outcome
            && message.len() > limit
        {
            // The sandbox is as large, and its plugin out of order: it is not used again. To make and to drop
            // so much costs more than most calls do.
            slices.use_up();
            return Err(Failure::AnswerTooLarge {
                size: message.len(),
                limit,
            });
        }
        if let Some(pool) = &self.pool {
            pool.put(sandbox);
        }
        if attempt.upstream.diverged() {
            return Err(Refusal::Diverged.into());
        }
        let Attempt {
            transaction, answer, ..
        } = *attempt;
        Ok(Finished {
            // What a failed handler staged can be thousands of entries, and is dropped where it ran.
            outcome: outcome
                .map(|message| (message, transaction))
                .map_err(GuestStatus::from),
            metadata: answer,
        })
    }

    /// Sandboxes that wait for their next call.
    pub fn idle_sandboxes(&self) -> usize {
        self.pool.as_ref().map_or(0, Pool::idle)
    }

    fn trapped(&self, trap: &Trapped) -> Failure {
        if trap.expired {
            return Failure::DeadlineExceeded;
        }
        self.metrics.trapped(kind(trap));
        let cause = cause(&trap.error);
        match trap.memory_refused {
            Some(limit) => Failure::PluginOutOfMemory { limit, cause },
            None => Failure::PluginFailed { cause },
        }
    }

    fn program(&self) -> Result<&Program, Failure> {
        self.program.as_ref().ok_or_else(unloaded)
    }
}

fn unloaded() -> Failure {
    Failure::Internal {
        cause: "unloaded".into(),
    }
}

fn kind(trap: &Trapped) -> TrapKind {
    if trap.memory_refused.is_some() {
        return TrapKind::OutOfMemory;
    }
    if trap.error.is::<wasmtime_wasi::I32Exit>() {
        return TrapKind::Exit;
    }
    match trap.error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::UnreachableCodeReached) => TrapKind::Unreachable,
        Some(wasmtime::Trap::StackOverflow) => TrapKind::StackOverflow,
        Some(wasmtime::Trap::MemoryOutOfBounds) => TrapKind::MemoryOutOfBounds,
        _ => TrapKind::Other,
    }
}

/// Why the guest stopped, and its stack function by function, the innermost first. A frame that repeats, as
/// in an endless recursion, is counted rather than repeated.
fn cause(error: &wasmtime::Error) -> String {
    let mut text = printable(&error.root_cause().to_string(), MAX_CAUSE_BYTES);
    let Some(backtrace) = error.downcast_ref::<wasmtime::WasmBacktrace>() else {
        return text;
    };
    let mut frames = backtrace.frames().iter().map(frame_name).peekable();
    while let Some(frame) = frames.next() {
        let mut repeats = 1;
        while frames.next_if_eq(&frame).is_some() {
            repeats += 1;
        }
        text.push_str("\n    at ");
        text.push_str(&frame);
        if repeats > 1 {
            text.push_str(&format!(" ({repeats} times)"));
        }
    }
    text.truncate(text.floor_char_boundary(MAX_CAUSE_BYTES));
    text
}

fn frame_name(frame: &wasmtime::FrameInfo) -> String {
    // The alternate form leaves out the hash.
    let name = frame
        .func_name()
        .map(|name| printable(&format!("{:#}", rustc_demangle::demangle(name)), 256));
    name.unwrap_or_else(|| format!("function {}", frame.func_index()))
}

impl Drop for Generation {
    fn drop(&mut self) {
        if self.number > 0 {
            self.metrics.unload();
            tracing::info!(plugin = %self.name, generation = self.number, "unloaded");
        }
        // Unmapping a program touches every slot that ever ran it: not on a thread that serves calls.
        let (program, pool) = (self.program.take(), self.pool.take());
        let unload = std::thread::Builder::new().name("mortise-unload".into());
        if let Err(error) = unload.spawn(move || drop((pool, program))) {
            tracing::warn!(%error, "no thread to unload on");
        }
    }
}
