//! Running a plugin: a [`Program`] is linked once per generation, an [`Instance`] is one sandbox of it.
//!
//! This is the only file that knows how a contract is executed, which is in one of two ways: a component as it
//! is, or its main module alone ([`flat`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Store, UpdateDeadline};

use super::background::{Background, Slices};
use super::bindings::v0_1::{Plugin, PluginPre, Status, handler};
use super::compiled::Compiled;
use super::engine::Engine;
use super::flat;
use super::state::{Attempt, CallState, PluginContext};

/// How long a plugin may take to start and to describe itself.
pub const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A compiled plugin with its imports resolved.
pub struct Program {
    engine: Engine,
    linked: Linked,
}

enum Linked {
    Component(PluginPre<CallState>),
    Flat(flat::Program),
}

impl Program {
    /// Links what every plugin may have: the contract's imports, and WASI with nothing granted. A component
    /// without a grant never gets here if it imports `upstream`.
    ///
    /// # Errors
    /// If the component imports anything else or exports another world; the text names it.
    pub fn link(engine: &Engine, compiled: &Compiled) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine.wasm());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        // Also on the flat path, whose component has no code: this checks what it imports and exports.
        let component = PluginPre::new(linker.instantiate_pre(&compiled.component)?)?;
        let linked = match &compiled.main {
            Some(module) => Linked::Flat(flat::Program::link(module)?),
            None => Linked::Component(component),
        };
        Ok(Self {
            engine: engine.clone(),
            linked,
        })
    }

    /// A fresh sandbox. Nothing of any earlier call is in it.
    ///
    /// # Errors
    /// If the guest's start function fails or no sandbox is free, which admission prevents.
    pub async fn instantiate(&self, state: CallState) -> Result<Instance, Trapped> {
        let state = match &self.linked {
            Linked::Component(_) => state.with_wasi(),
            Linked::Flat(_) => state,
        };
        let mut store = Store::new(self.engine.wasm(), state);
        store.limiter(|state| &mut state.limiter);
        // What one import call can make the host copy: lists may overlap, so without a bound of its own it
        // could be far more than the guest's memory holds.
        store.set_hostcall_fuel(store.data().plugin.sandbox.memory_bytes);
        // One tick at a time: each gives other calls their turn, and is where an expired one ends. A call
        // whose caller went away is dropped while it yields.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            let state = store.data();
            state.slices.used_one();
            Ok(match &state.attempt {
                Some(attempt) if attempt.call.deadline.expired() => UpdateDeadline::Interrupt,
                _ => UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())),
            })
        });
        let made = match &self.linked {
            Linked::Component(component) => component
                .instantiate_async(&mut store)
                .await
                .map(Guest::Component),
            Linked::Flat(module) => module.instantiate(&mut store).await.map(Guest::Flat),
        };
        match made {
            Ok(guest) => Ok(Instance { store, guest }),
            Err(error) => Err(Trapped::new(error, store.data())),
        }
    }

    /// Asks the plugin for its description, in a sandbox of its own.
    ///
    /// # Errors
    /// If the guest traps, or takes longer than [`DESCRIBE_TIMEOUT`] to start and to answer.
    pub async fn describe(&self, plugin: Arc<PluginContext>) -> wasmtime::Result<handler::Description> {
        let describe = async {
            let state = CallState::new(plugin, None, Slices::default());
            let mut instance = self.instantiate(state).await.map_err(|trapped| trapped.error)?;
            instance.describe().await
        };
        tokio::time::timeout(DESCRIBE_TIMEOUT, describe)
            .await
            .unwrap_or_else(|_| Err(wasmtime::Error::msg("describe took longer than 1 second")))
    }

    /// Whether sandboxes of it can be made as new after a call.
    pub fn renews(&self) -> bool {
        match &self.linked {
            Linked::Component(_) => false,
            Linked::Flat(program) => program.renews(),
        }
    }

    /// Where calls of it go on that compute for long.
    pub fn background(&self) -> &Background {
        self.engine.background()
    }
}

/// One sandbox. It serves one call at a time, and is dropped after any error and after any call that was
/// not awaited to its end: wasmtime promises nothing about such a store.
pub struct Instance {
    store: Store<CallState>,
    guest: Guest,
}

enum Guest {
    Component(Plugin),
    Flat(flat::Instance),
}

/// A guest that did not run to its end.
#[derive(Debug)]
pub struct Trapped {
    /// What stopped it, with its stack.
    pub error: wasmtime::Error,
    /// Whether the time of its call was up.
    pub expired: bool,
    /// The memory limit, in bytes, if it was refused more.
    pub memory_refused: Option<usize>,
}

impl Trapped {
    fn new(error: wasmtime::Error, state: &CallState) -> Self {
        let attempt = state.attempt.as_ref();
        let limiter = &state.limiter;
        Self {
            error,
            expired: attempt.is_some_and(|attempt| attempt.call.deadline.expired()),
            memory_refused: limiter.memory_refused().then(|| limiter.memory_limit()),
        }
    }
}

impl Instance {
    /// Serves one call.
    ///
    /// # Errors
    /// If the guest traps or is interrupted.
    pub async fn handle(&mut self, method: u32, request: Bytes) -> Result<Result<Vec<u8>, Status>, Trapped> {
        // Epochs count on while a sandbox waits for its next call.
        self.store.set_epoch_deadline(1);
        let store = &mut self.store;
        let handled = match &self.guest {
            Guest::Component(plugin) => {
                let handler = plugin.mortise_plugin_handler();
                handler.call_handle(store, method, &request).await
            }
            Guest::Flat(instance) => instance.handle(store, method, request).await,
        };
        handled.map_err(|error| Trapped::new(error, self.store.data()))
    }

    async fn describe(&mut self) -> wasmtime::Result<handler::Description> {
        match &self.guest {
            Guest::Component(plugin) => {
                let handler = plugin.mortise_plugin_handler();
                handler.call_describe(&mut self.store).await
            }
            Guest::Flat(instance) => instance.describe(&mut self.store).await,
        }
    }

    /// After a call that ended well: makes the sandbox as new, so that nothing of any earlier call is in it. False
    /// if that cannot be done, and it is to be dropped.
    pub fn renew(&mut self) -> bool {
        match &mut self.guest {
            Guest::Component(_) => false,
            Guest::Flat(instance) => instance.renew(&mut self.store),
        }
    }

    /// Makes an idle sandbox ready for its next call.
    pub fn begin(&mut self, attempt: Box<Attempt>, slices: Slices) {
        self.store.data_mut().begin(attempt, slices);
    }

    /// Ends the call and hands back the attempt.
    pub fn finish(&mut self) -> Option<Box<Attempt>> {
        self.store.data_mut().finish()
    }

    /// How often its memory grew during the call.
    pub fn memory_growths(&self) -> u32 {
        self.store.data().limiter.growths()
    }

    /// Linear memory in use, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().limiter.memory_bytes()
    }
}
