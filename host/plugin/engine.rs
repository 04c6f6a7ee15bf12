//! The wasmtime engine: one per host, shared by all plugins, with a ticker that lets deadlines interrupt
//! guests and divides the processors among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy};

use super::background::Background;
use super::compiler::Compiler;
use super::functions::Functions;

/// How often epoch deadlines are looked at: an expired or cancelled guest runs on for at most about this
/// long. The look itself costs a running guest well under a microsecond.
pub const TICK: Duration = Duration::from_millis(1);

/// Address space set aside per linear memory. With 4 GiB, 32-bit guests need no bounds checks.
const MEMORY_RESERVATION: u64 = 4 << 30;

/// A fiber's stack holds the guest's own stack and, above it, the host functions it calls.
const HOST_FUNCTION_STACK: usize = 512 << 10;

/// What the engine is sized by.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// Sandboxes that can exist at once; more wait or are refused by admission.
    pub max_sandboxes: u32,
    /// The largest `memory_bytes` of any plugin.
    pub max_memory_bytes: usize,
    /// The largest `table_elements` of any plugin.
    pub max_table_elements: usize,
    /// Native stack a guest may use, in bytes.
    pub max_stack_bytes: usize,
    /// Threads for calls that use up their time slices.
    pub background_threads: usize,
    /// Whether code is made fast, by a baseline compiler, instead of being made to run fast.
    pub baseline: bool,
}

/// The engine and its ticker thread, which ends with the last clone.
#[derive(Clone)]
pub struct Engine {
    wasm: wasmtime::Engine,
    compiler: Compiler,
    background: Arc<Background>,
    _ticker: Arc<Ticker>,
}

impl Engine {
    /// Reserves address space for `max_sandboxes`; fails where the system does not have it.
    pub fn new(options: &EngineOptions) -> wasmtime::Result<Self> {
        // The baseline compiler is done sooner than what it has compiled before is found.
        let functions = (!options.baseline).then(|| Arc::new(Functions::new()));
        let compiler = Compiler::new(settings(options), functions.clone())?;
        let wasm = wasmtime::Engine::new(&serving(options, functions)?)?;
        let ticker = Arc::new(Ticker::start(wasm.clone())?);
        Ok(Self {
            wasm,
            compiler,
            background: Arc::new(Background::start(options.background_threads)?),
            _ticker: ticker,
        })
    }

    /// Runs calls that use up their time slices.
    pub fn background(&self) -> &Background {
        &self.background
    }

    /// Compiles what the engine runs.
    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// The wasmtime engine itself.
    pub fn wasm(&self) -> &wasmtime::Engine {
        &self.wasm
    }
}

/// What code depends on.
fn settings(options: &EngineOptions) -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    // Exports are synchronous, and building a task per call for concurrent ones more than doubles its cost.
    config.concurrency_support(false);
    config.gc_support(false);
    // Not fuel: counting instructions slows guests by a factor of two to three.
    config.epoch_interruption(true);
    config.strategy(match options.baseline {
        true => Strategy::Winch,
        false => Strategy::Cranelift,
    });
    config.max_wasm_stack(options.max_stack_bytes);
    config.async_stack_size(options.max_stack_bytes + HOST_FUNCTION_STACK);
    config.memory_reservation(MEMORY_RESERVATION);
    // For debuggers of native code alone: a twelfth of the time that compiling takes, and a seventh of the code.
    config.native_unwind_info(false);
    config.generate_address_map(false);
    // Frames carry the function names of the name section; file and line would need DWARF.
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
    config
}

/// What running it depends on besides.
fn serving(options: &EngineOptions, functions: Option<Arc<Functions>>) -> wasmtime::Result<Config> {
    let mut config = settings(options);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    // What it compiles itself are a few functions that tell whether a plugin fits.
    config.parallel_compilation(false);
    if let Some(functions) = functions {
        config.enable_incremental_compilation(functions)?;
    }
    Ok(config)
}

/// A component made by the Rust toolchain has three core instances (the program, and the shim and fixup
/// modules that tie the knot between its memory and its imports), one memory and two tables.
fn pool(options: &EngineOptions) -> PoolingAllocationConfig {
    // Those that run in the background while their callers go away live on until the end of their slice.
    let withdrawn = u32::try_from(options.background_threads).unwrap_or(u32::MAX);
    let sandboxes = options.max_sandboxes.saturating_add(withdrawn);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(sandboxes)
        .total_core_instances(sandboxes.saturating_mul(4))
        .total_memories(sandboxes)
        .total_tables(sandboxes.saturating_mul(4))
        .total_stacks(sandboxes)
        .max_core_instances_per_component(16)
        .max_memories_per_component(1)
        .max_tables_per_component(8)
        .table_elements(options.max_table_elements)
        .max_memory_size(options.max_memory_bytes)
        .max_component_instance_size(1 << 20)
        .max_core_instance_size(1 << 20)
        // A slot that keeps its image mapped costs no system calls on the next call of the same plugin.
        .max_unused_warm_slots(sandboxes)
        // Guests this small are reset by copying, without asking the kernel to drop and refault pages.
        .linear_memory_keep_resident(128 << 10)
        .table_keep_resident(4 << 10);
    pool
}

struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> wasmtime::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("mortise-epoch".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(TICK);
                    engine.increment_epoch();
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic, and one that did has stopped ticking all the same.
            let _ = thread.join();
        }
    }
}
