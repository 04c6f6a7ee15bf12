//! What the host holds for one sandbox, and what it holds for the call the sandbox is serving.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::background::Slices;
use super::flat;
use super::limits::{Limiter, SandboxLimits};
use super::stdio::{GuestOutput, LogLimits, Output, SharedOutput, Stream};
use super::under_test::UnderTest;
use crate::auth::Principal;
use crate::capability::Namespace;
use crate::capability::limits::{Decision, Limits, Rate};
use crate::capability::store::{Errand, Transaction};
use crate::capability::upstream::{Granted, Journal, Usage};
use crate::deadline::Deadline;
use crate::metadata::{AnswerMetadata, MetadataLimits, RequestMetadata};
use crate::observe::{CallId, TraceContext};
use crate::status::Failure;

/// What all sandboxes of one generation share.
pub struct PluginContext {
    /// The operator's name for the plugin.
    pub name: Namespace,
    /// The operator's values, in the form plugins read them.
    pub config: BTreeMap<String, String>,
    /// The plugin's rate-limit buckets.
    pub rate_limits: Arc<Limits>,
    /// The targets it may call.
    pub upstreams: Granted,
    /// Its methods by path, which are what it may schedule.
    pub methods: HashSet<String>,
    /// Memory and tables.
    pub sandbox: SandboxLimits,
    /// Log lines.
    pub log: LogLimits,
    /// Metadata of an answer.
    pub metadata: MetadataLimits,
    /// Answers what it imports, where its developer's tests run it.
    pub under_test: Option<UnderTest>,
}

/// What stays the same over the attempts of one call.
pub struct Call {
    /// Random, unique.
    pub id: CallId,
    /// The one clock.
    pub deadline: Deadline,
    /// The request's.
    pub metadata: RequestMetadata,
    /// Its place in its client's trace, if it has one.
    pub trace: Option<TraceContext>,
    /// `ip:port`, or `unix:`; empty if the host makes the call.
    pub peer: Arc<str>,
    /// Who calls, if that is known.
    pub principal: Option<Arc<Principal>>,
    /// How many deliveries of events from plugin to plugin led to it.
    pub hops: u32,
    /// What the call is made for, if the host makes it.
    pub errand: Option<Errand>,
    /// Rate-limit decisions in the order in which they were taken: a later attempt that asks the same gets
    /// the same, so that a conflict does not cost the caller twice.
    pub decisions: Mutex<Vec<RememberedDecision>>,
    /// What its upstream calls came to, for later attempts.
    pub upstream: Journal,
}

impl Call {
    /// Prepares the transaction of an attempt. False if what the call is made for is settled already.
    ///
    /// # Errors
    /// If the store is unavailable.
    pub fn begin(&self, transaction: &mut Transaction) -> Result<bool, Failure> {
        transaction.caused_by_hops(self.hops);
        let Some(errand) = &self.errand else {
            return Ok(true);
        };
        transaction
            .settle(errand)
            .map_err(|error| Failure::StoreUnavailable {
                cause: error.to_string(),
            })
    }
}

/// A rate-limit decision of an earlier attempt.
pub struct RememberedDecision {
    /// What was asked.
    pub bucket: String,
    /// What was asked.
    pub tokens: u32,
    /// What was asked.
    pub rate: Rate,
    /// What was answered.
    pub decision: Decision,
}

/// One run of a handler. It starts with empty metadata and an empty transaction. It goes through many hands, and is
/// large: in a box.
pub struct Attempt {
    /// The call it belongs to.
    pub call: Arc<Call>,
    /// 1 for the first.
    pub number: u32,
    /// What the handler reads, writes and publishes.
    pub transaction: Transaction,
    /// What the handler has set on the answer.
    pub answer: AnswerMetadata,
    /// How many of [`Call::decisions`] this attempt has asked for.
    pub decisions_asked: usize,
    /// What this attempt has asked of upstreams.
    pub upstream: Usage,
}

/// The data of a sandbox's wasmtime store.
pub struct CallState {
    /// Of a sandbox that is an instance of a component; none on the flat path.
    wasi: Option<WasiCtx>,
    resources: ResourceTable,
    /// Of a sandbox on the flat path.
    pub flat: flat::Sandbox,
    /// Memory and tables.
    pub limiter: Limiter,
    /// What the guest logs.
    pub output: SharedOutput,
    /// The generation's.
    pub plugin: Arc<PluginContext>,
    /// None while the plugin describes itself.
    pub attempt: Option<Box<Attempt>>,
    /// Time slices that the call has used.
    pub slices: Slices,
}

/// Handles a guest can hold at once. A std guest holds its three stdio streams.
pub(super) const MAX_RESOURCES: usize = 1024;

/// Random bytes a guest can ask for at once. More is a trap: they are made in one go, without a look at
/// the deadline.
pub(super) const MAX_RANDOM_BYTES: u64 = 1 << 20;

impl CallState {
    /// For a fresh sandbox, without WASI.
    pub fn new(plugin: Arc<PluginContext>, attempt: Option<Box<Attempt>>, slices: Slices) -> Self {
        Self {
            wasi: None,
            resources: ResourceTable::new(),
            flat: flat::Sandbox::default(),
            limiter: Limiter::new(plugin.sandbox),
            output: Arc::new(Mutex::new(Output::new(plugin.log))),
            plugin,
            attempt,
            slices,
        }
    }

    /// Adds WASI, which grants nothing: no arguments, environment, files or network.
    pub fn with_wasi(mut self) -> Self {
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(GuestOutput::new(Stream::Stdout, self.output.clone()))
            .stderr(GuestOutput::new(Stream::Stderr, self.output.clone()))
            .allow_tcp(false)
            .allow_udp(false)
            .max_random_size(MAX_RANDOM_BYTES);
        if let Some(test) = &self.plugin.under_test {
            wasi.wall_clock(test.clone())
                .secure_random(test.clone())
                .insecure_random(test.clone());
        }
        self.wasi = Some(wasi.build());
        self.resources.set_max_capacity(MAX_RESOURCES);
        self
    }

    /// Makes a reused sandbox ready for its next call.
    pub fn begin(&mut self, attempt: Box<Attempt>, slices: Slices) {
        self.slices = slices;
        self.limiter.begin_call();
        self.attempt = Some(attempt);
    }

    /// The sandbox was made as new, and holds `flat` now: of earlier calls nothing is kept but how much memory it
    /// has.
    pub fn renew(&mut self, flat: flat::Sandbox) {
        let mut renewed = Self::new(self.plugin.clone(), None, Slices::default());
        renewed.limiter = Limiter::with_memory(self.plugin.sandbox, self.limiter.memory_bytes());
        renewed.flat = flat;
        *self = renewed;
    }

    /// Ends the call: logs what is left to log and hands back the attempt. Dropping the state does the same
    /// for a guest that was cut off.
    pub fn finish(&mut self) -> Option<Box<Attempt>> {
        let dropped = self.output.lock().finish();
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "the plugin logged more lines than max_guest_lines_per_call"
            );
        }
        self.attempt.take()
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        self.finish();
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: self.wasi.as_mut().expect("only components are linked to it"),
            table: &mut self.resources,
        }
    }
}
