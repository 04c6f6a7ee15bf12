//! From an artifact to a program: taken apart, found in the cache or compiled, and linked.

use std::sync::Arc;
use std::time::Instant;

use super::load::LoadError;
use crate::config::Linking;
use crate::observe::metrics::PluginMetrics;
use crate::plugin::artifact::Artifact;
use crate::plugin::cache::CompiledCache;
use crate::plugin::compiled::{Compiled, Form};
use crate::plugin::engine::Engine;
use crate::plugin::flat::Unfit;
use crate::plugin::instance::Program;

/// What a program is made with, on a thread that serves nothing: it takes milliseconds at best.
pub(super) struct Maker {
    pub(super) engine: Engine,
    pub(super) cache: Option<Arc<CompiledCache>>,
    pub(super) artifact: Arc<Artifact>,
    pub(super) linking: Linking,
    pub(super) metrics: Arc<PluginMetrics>,
}

/// A program that was made.
pub(super) struct Made {
    pub(super) program: Program,
    /// Whether its code was kept from an earlier time.
    pub(super) cached: bool,
    /// Why it is run as a component, if it is.
    pub(super) unfit: Option<Unfit>,
}

impl Maker {
    pub(super) fn make(&self) -> Result<Made, LoadError> {
        let ((program, cached), unfit) = match self.flat() {
            Ok(made) => (made, None),
            // Also of whatever is wrong with the component, this path is the judge.
            Err(unfit) => (self.component()?, Some(unfit)),
        };
        Ok(Made {
            program,
            cached,
            unfit,
        })
    }

    fn flat(&self) -> Result<(Program, bool), Unfit> {
        if self.linking == Linking::Component {
            return Err(Unfit::because("its `linking` is set to `component`"));
        }
        // What is kept in this form was found to fit it when it was made. That takes longer than all the rest.
        let (compiled, cached) = match self.kept(Form::FLAT) {
            Some(compiled) => (compiled, true),
            None => {
                let form = Form::flat(self.engine.wasm(), &self.artifact)?;
                let compiled = self.compiled(&form);
                let unfit = |_| Unfit::because("its program does not compile by itself");
                (compiled.map_err(unfit)?, false)
            }
        };
        let program = Program::link(&self.engine, &compiled)
            .map_err(|_| Unfit::because("it does not fit the contract"))?;
        Ok((program, cached))
    }

    fn component(&self) -> Result<(Program, bool), LoadError> {
        let file = || self.artifact.path.display().to_string();
        let (compiled, cached) = match self.kept(Form::COMPONENT) {
            Some(compiled) => (compiled, true),
            None => {
                let compiled = self.compiled(&Form::Component);
                let refused = |error| LoadError::Compile {
                    file: file(),
                    reason: short(&error),
                };
                (compiled.map_err(refused)?, false)
            }
        };
        let program = Program::link(&self.engine, &compiled).map_err(|error| LoadError::Link {
            file: file(),
            reason: short(&error),
        })?;
        Ok((program, cached))
    }

    /// From the cache.
    fn kept(&self, form: &str) -> Option<Compiled> {
        let cache = self.cache.as_ref()?;
        let kept = cache.load(self.artifact.digest, form, self.engine.wasm())?;
        self.metrics.cache_hits.increment();
        Some(kept)
    }

    /// Compiled, and put into the cache.
    fn compiled(&self, form: &Form) -> wasmtime::Result<Compiled> {
        let began = Instant::now();
        let code = self.engine.compiler().compile(&self.artifact, form)?;
        self.metrics.compile_seconds.observe(began.elapsed());
        if let Some(cache) = &self.cache {
            self.metrics.cache_misses.increment();
            cache.store(self.artifact.digest, form.name(), &code);
        }
        Compiled::load(self.engine.wasm(), &code)
    }
}

/// The error and its causes on one line, without stacks.
pub(super) fn short(error: &wasmtime::Error) -> String {
    crate::observe::printable(&format!("{error:#}"), 1024)
}
