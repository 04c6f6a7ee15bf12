//! From wasm to native code.
//!
//! Compiling is what takes longest of a swap, and nobody waits for it but the swap. So threads of the scheduler's
//! class for idle work do it, as many as there are processors: they run on what the serving threads leave. If that
//! is too little, the thread that asked compiles as well, so that a swap comes to its end under any load.
//!
//! A thread that has lost its processor must hold nothing that calls wait for. What these make is bytes, apart
//! from everything that runs; the thread that asked makes them part of it.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::sync::Semaphore;
use wasmtime::{Config, Engine};

use super::artifact::Artifact;
use super::compiled::{Code, Form};
use super::functions::Functions;
use super::processor;

/// How often the thread that asked looks whether those of the idle class get half of one processor at least. If not,
/// it compiles as well; what they have compiled by then it finds.
const PATIENCE: Duration = Duration::from_millis(100);

/// Compiles plugins. Clones are one compiler.
#[derive(Clone)]
pub struct Compiler {
    /// On all threads of the pool that it is called on.
    parallel: Engine,
    /// On the thread that it is called on.
    single: Engine,
    /// None if compiling takes so little that it is not worth while.
    functions: Option<Arc<Functions>>,
    /// Taken while threads of the idle class compile, also those that nobody waits for any more: there is one
    /// such pool at a time.
    idle: Arc<Semaphore>,
}

impl Compiler {
    /// With these settings, which need not say how instances are allocated.
    ///
    /// # Errors
    /// If this processor cannot be compiled for.
    pub(super) fn new(mut settings: Config, functions: Option<Arc<Functions>>) -> wasmtime::Result<Self> {
        if let Some(functions) = &functions {
            settings.enable_incremental_compilation(functions.clone())?;
        }
        settings.parallel_compilation(false);
        let single = Engine::new(&settings)?;
        settings.parallel_compilation(true);
        Ok(Self {
            parallel: Engine::new(&settings)?,
            single,
            functions,
            idle: Arc::new(Semaphore::new(1)),
        })
    }

    /// Compiles a plugin, which can take seconds.
    ///
    /// # Errors
    /// If it is damaged, or uses features that this host does not offer.
    pub fn compile(&self, artifact: &Arc<Artifact>, form: &Form) -> wasmtime::Result<Code> {
        let Some(functions) = &self.functions else {
            return Code::compile(&self.parallel, artifact, form);
        };
        match self.compile_idly(functions, artifact, form) {
            Some(compiled) => compiled,
            None => Code::compile(&self.single, artifact, form),
        }
    }

    /// None if the processors have too much else to do.
    fn compile_idly(
        &self,
        functions: &Functions,
        artifact: &Arc<Artifact>,
        form: &Form,
    ) -> Option<wasmtime::Result<Code>> {
        let idle = self.idle.clone().try_acquire_owned().ok()?;
        let pool = idle_threads()
            .inspect_err(|error| tracing::warn!(%error, "plugins are compiled at the priority of calls"))
            .ok()?;
        let (send, receive) = mpsc::sync_channel(1);
        let (engine, artifact, form) = (self.parallel.clone(), artifact.clone(), form.clone());
        pool.spawn(move || {
            // Nobody waits for what took too long.
            let _ = send.send(Code::compile(&engine, &artifact, &form));
            drop(idle);
        });
        let mut used = functions.time_used();
        loop {
            match receive.recv_timeout(PATIENCE) {
                Ok(compiled) => return Some(compiled),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let before = std::mem::replace(&mut used, functions.time_used());
            if used - before < PATIENCE / 2 {
                return None;
            }
        }
    }
}

/// They end with what they were given, whether or not anybody waits for that.
fn idle_threads() -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(std::thread::available_parallelism().map_or(1, Into::into))
        .thread_name(|_| "mortise-compile".into())
        .start_handler(|thread| {
            // If one is not allowed to, none is.
            if let Err(error) = processor::lower_priority()
                && thread == 0
            {
                tracing::warn!(%error, "plugins are compiled at the priority of calls");
            }
        })
        // The thread that asked compiles then, and meets the same.
        .panic_handler(drop)
        .build()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plugin::artifact::Digest;
    use crate::plugin::compiled::Compiled;

    const FUNCTIONS: usize = 50;

    /// Of so many functions, of which the first is another one in each version.
    fn artifact(version: usize) -> Arc<Artifact> {
        let function = |number: usize| {
            let first = if number == 0 { version } else { number };
            format!("(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const {first}000)))")
        };
        let functions: String = (0..FUNCTIONS).map(function).collect();
        let bytes = wat::parse_str(format!("(component (core module {functions}))")).expect("it is text");
        Arc::new(Artifact {
            path: Path::new("plugin.wasm").to_owned(),
            digest: Digest::of(&bytes),
            contract: String::new(),
            imports: Vec::new(),
            bytes,
        })
    }

    #[test]
    fn of_a_new_version_what_changed_is_compiled() {
        let functions = Arc::new(Functions::new());
        let compiler = Compiler::new(Config::new(), Some(functions.clone())).expect("for this processor");
        let compile = |version| {
            let code = compiler.compile(&artifact(version), &Form::Component);
            Compiled::load(&compiler.single, &code.expect("it compiles")).expect("it is whole");
            functions.count()
        };
        let first = compile(1000);
        assert!(first >= FUNCTIONS, "{functions:?}");
        assert_eq!(compile(2000), first + 1);
        assert_eq!(compile(1000), first + 1, "it was seen");
    }

    #[test]
    fn a_plugin_compiles_while_the_idle_threads_have_not_ended_with_another() {
        let functions = Arc::new(Functions::new());
        let compiler = Compiler::new(Config::new(), Some(functions)).expect("for this processor");
        let taken = compiler.idle.clone().try_acquire_owned();
        let code = compiler
            .compile(&artifact(1), &Form::Component)
            .expect("it compiles");
        drop(taken);
        let same = compiler
            .compile(&artifact(1), &Form::Component)
            .expect("it compiles");
        assert_eq!(code.bytes(), same.bytes(), "whoever compiles it");
    }
}
