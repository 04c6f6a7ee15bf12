//! Running a plugin: a [`Program`] is linked once per generation, an [`Instance`] is one sandbox of it.
//!
//! This is the only file that knows how a contract is executed. Today there is one way, the component
//! model; a second one for the same contract belongs here, behind the same two types.

use std::time::Duration;

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Store, UpdateDeadline};

use super::bindings::v0_1::{Plugin, PluginPre, Status, handler};
use super::engine::Engine;
use super::state::{Attempt, CallState};
use crate::deadline::Deadline;

/// How long a plugin may take to describe itself.
pub const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A compiled component with its imports resolved.
pub struct Program {
    engine: Engine,
    component: PluginPre<CallState>,
}

impl Program {
    /// Links what every plugin may have: the contract's imports, and WASI with nothing granted. A component
    /// without a grant never gets here if it imports `upstream`.
    ///
    /// # Errors
    /// If the component imports anything else or exports another world; the text names it.
    pub fn link(engine: &Engine, component: &Component) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine.wasm());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        let component = PluginPre::new(linker.instantiate_pre(component)?)?;
        Ok(Self {
            engine: engine.clone(),
            component,
        })
    }

    /// A fresh sandbox. Nothing of any earlier call is in it.
    ///
    /// # Errors
    /// If the guest's start function fails or no sandbox is free, which admission prevents.
    pub async fn instantiate(&self, state: CallState) -> wasmtime::Result<Instance> {
        let mut store = Store::new(self.engine.wasm(), state);
        store.limiter(|state| &mut state.limiter);
        // One tick at a time: each gives other calls their turn, and is where an expired one ends. A call
        // whose caller went away is dropped while it yields.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            let attempt = store.data().attempt.as_ref();
            Ok(match attempt {
                Some(attempt) if attempt.call.deadline.expired() => UpdateDeadline::Interrupt,
                _ => UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())),
            })
        });
        let plugin = self.component.instantiate_async(&mut store).await?;
        Ok(Instance { store, plugin })
    }
}

/// One sandbox. It serves one call at a time, and is dropped after any error and after any call that was
/// not awaited to its end: wasmtime promises nothing about such a store.
pub struct Instance {
    store: Store<CallState>,
    plugin: Plugin,
}

impl Instance {
    /// Asks the plugin for its description.
    ///
    /// # Errors
    /// If the guest traps or takes longer than [`DESCRIBE_TIMEOUT`].
    pub async fn describe(&mut self) -> wasmtime::Result<handler::Description> {
        let deadline = Deadline::after(tokio::time::Instant::now(), Some(DESCRIBE_TIMEOUT));
        deadline
            .bound(
                self.plugin
                    .mortise_plugin_handler()
                    .call_describe(&mut self.store),
            )
            .await
            .map_err(|_| wasmtime::Error::msg("describe took longer than 1 second"))?
    }

    /// Serves one call.
    ///
    /// # Errors
    /// If the guest traps or is interrupted.
    pub async fn handle(&mut self, method: u32, request: &[u8]) -> wasmtime::Result<Result<Vec<u8>, Status>> {
        // Epochs count on while a sandbox waits for its next call.
        self.store.set_epoch_deadline(1);
        self.plugin
            .mortise_plugin_handler()
            .call_handle(&mut self.store, method, request)
            .await
    }

    /// Makes a reused sandbox ready for its next call.
    pub fn begin(&mut self, attempt: Attempt) {
        self.store.data_mut().begin(attempt);
    }

    /// Ends the call and hands back the attempt.
    pub fn finish(&mut self) -> Option<Attempt> {
        self.store.data_mut().finish()
    }

    /// Linear memory in use, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().limiter.memory_bytes()
    }

    /// Whether a memory growth was refused, and under which limit.
    pub fn memory_refused(&self) -> Option<usize> {
        let limiter = &self.store.data().limiter;
        limiter.memory_refused().then(|| limiter.memory_limit())
    }
}
