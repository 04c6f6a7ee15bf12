//! From a file to a generation: read, check, compile, link, describe. Each step can refuse, and a refusal
//! changes nothing.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;
use std::time::{Instant, SystemTime};

use tokio::sync::Semaphore;

use super::gate::{self, GateError};
use super::generation::{Generation, Method};
use super::native::NativeHandler;
use super::registry::PluginSettings;
use super::settings::LOADING_SANDBOXES;
use crate::capability::limits::Limits;
use crate::capability::upstream::{Granted, Upstreams};
use crate::config::{Isolation, Linking};
use crate::metadata::MetadataLimits;
use crate::observe::metrics::{GenerationMetrics, PluginMetrics};
use crate::plugin::artifact::{Artifact, ArtifactError, Digest};
use crate::plugin::cache::CompiledCache;
use crate::plugin::compiled::{Compiled, Form, NotCompiled};
use crate::plugin::description::{Description, DescriptionError};
use crate::plugin::engine::Engine;
use crate::plugin::flat::Unfit;
use crate::plugin::instance::Program;
use crate::plugin::limits::SandboxLimits;
use crate::plugin::pool::{IdleSlots, Pool, ReusePolicy};
use crate::plugin::state::PluginContext;
use crate::plugin::stdio::LogLimits;
use crate::plugin::under_test::UnderTest;

/// Why a plugin file was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not a plugin's component.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The operator does not allow it as it is.
    #[error("{file}: {error}")]
    Gate {
        /// The file.
        file: String,
        /// Why.
        error: GateError,
    },
    /// The component does not compile: damaged, or it uses features that this host does not offer.
    #[error("{file} does not compile: {reason}")]
    Compile {
        /// The file.
        file: String,
        /// The compiler's words.
        reason: String,
    },
    /// Its imports or exports have other types than the contract's.
    #[error("{file} does not fit the contract: {reason}")]
    Link {
        /// The file.
        file: String,
        /// The linker's words.
        reason: String,
    },
    /// It trapped or took too long when it was asked to describe itself.
    #[error("{file} could not describe itself: {reason}")]
    Describe {
        /// The file.
        file: String,
        /// The trap.
        reason: String,
    },
    /// What it says of itself does not hold.
    #[error("{file}: {error}")]
    Description {
        /// The file.
        file: String,
        /// Why.
        error: DescriptionError,
    },
    /// Another plugin serves one of its services.
    #[error(
        "{file} claims the service {service}, which plugin {owner} serves already: remove one of the two"
    )]
    ServiceTaken {
        /// The file.
        file: String,
        /// The service.
        service: String,
        /// The plugin that has it.
        owner: String,
    },
}

impl LoadError {
    /// Whether the plugin's section of the configuration is at fault, and not its file.
    pub fn is_config(&self) -> bool {
        matches!(
            self,
            Self::Gate {
                error: GateError::Grant { .. } | GateError::Upstream | GateError::Config(_),
                ..
            }
        )
    }
}

/// A program, and whether its code was kept from an earlier time.
struct Linked {
    program: Program,
    cached: bool,
}

/// A component that has run once and said what it is.
struct Prepared {
    program: Program,
    description: Description,
    unfit: Option<Unfit>,
}

/// What a component is, whatever the operator allows.
pub struct Inspected {
    /// What it says of itself.
    pub description: Description,
    /// Why it is run as the component that it is; none if its program is linked to the host directly.
    pub unfit: Option<Unfit>,
    /// Whether its sandboxes are renewed after a call, or else made anew for each.
    pub renews: bool,
}

/// Everything that loading needs and generations share.
pub struct Loader {
    /// Runs all plugins.
    pub engine: Engine,
    /// Compiled components, if they are kept.
    pub cache: Option<Arc<CompiledCache>>,
    /// The rate-limit buckets of all plugins.
    pub rate_limits: Arc<Limits>,
    /// The targets that plugins can be granted.
    pub upstreams: Upstreams,
    /// Bounds on what guests log.
    pub log: LogLimits,
    /// Bounds on the metadata of answers.
    pub metadata: MetadataLimits,
    /// Slots for idle sandboxes of all pools together.
    pub idle_slots: Arc<IdleSlots>,
    /// A turn for each processor. Once calls are served a component takes all of them, so that one compiles at a
    /// time: a swap must leave the serving threads their cores.
    compiling: Semaphore,
    serving: AtomicBool,
    native: OnceLock<NativeHandler>,
}

impl Loader {
    /// A loader that has loaded nothing yet.
    pub fn new(
        engine: Engine,
        cache: Option<CompiledCache>,
        rate_limits: Arc<Limits>,
        upstreams: Upstreams,
        log: LogLimits,
        metadata: MetadataLimits,
        idle_slots: usize,
    ) -> Self {
        Self {
            engine,
            cache: cache.map(Arc::new),
            rate_limits,
            upstreams,
            log,
            metadata,
            idle_slots: Arc::new(IdleSlots::new(idle_slots)),
            compiling: Semaphore::new(Self::before_calls() as usize),
            serving: AtomicBool::new(false),
            native: OnceLock::new(),
        }
    }

    /// How many plugins are loaded at a time while no calls are served: one on each processor.
    pub(super) fn before_calls() -> u32 {
        let processors = available_parallelism().map_or(1, Into::into);
        processors.min(LOADING_SANDBOXES) as u32
    }

    /// From now on calls are served.
    pub(super) fn calls_begin(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    /// Has `handler` serve the calls of all plugins that are loaded from now on.
    #[doc(hidden)]
    pub fn replace_guests(&self, handler: NativeHandler) {
        // The first one stays.
        let _ = self.native.set(handler);
    }

    /// Makes a generation of an artifact. It has no number until it is live.
    pub async fn load(&self, artifact: Artifact, plugin: &PluginSettings) -> Result<Generation, LoadError> {
        let file = artifact.path.display().to_string();
        let gate = |error| LoadError::Gate {
            file: file.clone(),
            error,
        };
        gate::check_upstream(&artifact, &plugin.config.grants).map_err(gate)?;
        let digest = artifact.digest;
        let prepared = self.prepare(artifact, plugin).await?;
        let description = &prepared.description;
        gate::check_grants(description, &plugin.config.grants).map_err(gate)?;
        gate::check_config(description, &plugin.config.config).map_err(gate)?;
        let granted = self.upstreams(plugin, description);
        let context = self.context(plugin, granted, paths(description));
        Ok(self.generation(digest, prepared, plugin, context))
    }

    /// Makes a generation for a plugin's own tests. Their fake host answers all that it imports, so there is
    /// nothing to grant.
    pub async fn load_under_test(
        &self,
        artifact: Artifact,
        plugin: &PluginSettings,
        fake_host: UnderTest,
    ) -> Result<Generation, LoadError> {
        let digest = artifact.digest;
        let prepared = self.prepare(artifact, plugin).await?;
        let context = PluginContext {
            under_test: Some(fake_host),
            ..self.context(plugin, Granted::default(), paths(&prepared.description))
        };
        Ok(self.generation(digest, prepared, plugin, context))
    }

    fn generation(
        &self,
        digest: Digest,
        prepared: Prepared,
        plugin: &PluginSettings,
        context: PluginContext,
    ) -> Generation {
        let Prepared {
            program, description, ..
        } = prepared;
        let paths = description.methods.iter().map(|method| method.path.as_str());
        let metrics = GenerationMetrics::new(plugin.metrics.clone(), paths);
        Generation {
            name: plugin.name.clone(),
            number: 0,
            digest,
            methods: description
                .methods
                .iter()
                .map(|method| Method::new(plugin.methods.of(&method.path)))
                .collect(),
            description,
            loaded_at: SystemTime::now(),
            metrics: Arc::new(metrics),
            context: Arc::new(context),
            share: plugin.share.clone(),
            pool: match plugin.config.isolation {
                Isolation::Reuse => Some(ReusePolicy {
                    renewed: false,
                    max_calls: plugin.config.max_reuse_calls,
                    max_age: plugin.config.max_reuse_age,
                    max_idle_memory: plugin.config.max_memory_bytes / 2,
                }),
                Isolation::Call => program.renews().then_some(ReusePolicy::RENEWED),
            }
            .map(|policy| Pool::new(policy, self.idle_slots.clone())),
            native: self.native.get().copied(),
            program: Some(program),
        }
    }

    /// What an artifact says of itself, whatever the operator allows.
    pub async fn inspect(&self, artifact: Artifact, plugin: &PluginSettings) -> Result<Inspected, LoadError> {
        let Prepared {
            program,
            description,
            unfit,
        } = self.prepare(artifact, plugin).await?;
        Ok(Inspected {
            description,
            unfit,
            renews: program.renews(),
        })
    }

    async fn prepare(&self, artifact: Artifact, plugin: &PluginSettings) -> Result<Prepared, LoadError> {
        let file = artifact.path.display().to_string();
        gate::check_imports(&artifact).map_err(|error| LoadError::Gate {
            file: file.clone(),
            error,
        })?;
        let started = Instant::now();
        let artifact = Arc::new(artifact);
        let (linked, unfit) = match self.flat(&artifact, plugin).await {
            Ok(linked) => (linked, None),
            // Also of whatever is wrong with the component, this path is the judge.
            Err(unfit) => (self.component(&artifact, plugin).await?, Some(unfit)),
        };
        let Linked { program, cached } = linked;
        // While it describes itself there is no call, so it needs nothing outside.
        let context = Arc::new(self.context(plugin, Granted::default(), HashSet::new()));
        let description = self.describe(&program, &context, &file).await?;
        let ms = started.elapsed().as_millis() as u64;
        let as_component = unfit.as_ref().map(tracing::field::display);
        tracing::debug!(plugin = %plugin.name, cached, ms, as_component, "loaded");
        Ok(Prepared {
            program,
            description,
            unfit,
        })
    }

    async fn flat(&self, artifact: &Arc<Artifact>, plugin: &PluginSettings) -> Result<Linked, Unfit> {
        if plugin.config.linking == Linking::Component {
            return Err(Unfit::because("its `linking` is set to `component`"));
        }
        let compiled = self.compile(artifact.clone(), Form::Flat, &plugin.metrics).await;
        let (compiled, cached) = compiled.map_err(|error| match error {
            NotCompiled::Unfit(unfit) => unfit,
            NotCompiled::Failed(_) => Unfit::because("its program does not compile by itself"),
        })?;
        let program = Program::link(&self.engine, &compiled)
            .map_err(|_| Unfit::because("it does not fit the contract"))?;
        Ok(Linked { program, cached })
    }

    async fn component(
        &self,
        artifact: &Arc<Artifact>,
        plugin: &PluginSettings,
    ) -> Result<Linked, LoadError> {
        let file = || artifact.path.display().to_string();
        let compiled = self
            .compile(artifact.clone(), Form::Component, &plugin.metrics)
            .await;
        let (compiled, cached) = compiled.map_err(|error| LoadError::Compile {
            file: file(),
            reason: on_one_line(&error.to_string()),
        })?;
        let program = Program::link(&self.engine, &compiled).map_err(|error| LoadError::Link {
            file: file(),
            reason: short(&error),
        })?;
        Ok(Linked { program, cached })
    }

    /// From the cache, or compiled on a background thread and cached. Says which. What is in the cache was found to
    /// fit its form when it was made.
    async fn compile(
        &self,
        artifact: Arc<Artifact>,
        form: Form,
        metrics: &Arc<PluginMetrics>,
    ) -> Result<(Compiled, bool), NotCompiled> {
        let turns = match self.serving.load(Ordering::Relaxed) {
            true => Self::before_calls(),
            false => 1,
        };
        let _turns = self.compiling.acquire_many(turns).await;
        let (engine, cache, metrics) = (self.engine.wasm().clone(), self.cache.clone(), metrics.clone());
        let compiled = tokio::task::spawn_blocking(move || {
            let kept = cache
                .as_ref()
                .and_then(|cache| cache.load(artifact.digest, &form, &engine));
            if let Some(compiled) = kept {
                metrics.cache_hits.increment();
                return Ok((compiled, true));
            }
            let began = Instant::now();
            let compiled = Compiled::new(&engine, &artifact, form)?;
            metrics.compile_seconds.observe(began.elapsed());
            if let Some(cache) = cache {
                metrics.cache_misses.increment();
                cache.store(artifact.digest, &form, &compiled);
            }
            Ok((compiled, false))
        });
        compiled
            .await
            .unwrap_or_else(|panic| Err(wasmtime::Error::msg(panic.to_string()).into()))
    }

    /// The targets that the plugin asks for and the operator grants.
    fn upstreams(&self, plugin: &PluginSettings, description: &Description) -> Granted {
        let asked = |target: &str| {
            description
                .grants
                .iter()
                .any(|grant| grant.capability == "upstream" && grant.target == target)
        };
        let (asked, unasked): (Vec<_>, Vec<_>) =
            gate::upstream_targets(&plugin.config.grants).partition(|target| asked(target));
        for target in unasked {
            tracing::warn!(plugin = %plugin.name, target, "granted, but the plugin does not ask for it");
        }
        let config = &plugin.config;
        let (calls, bytes) = (config.max_upstream_calls, config.max_upstream_bytes);
        self.upstreams.grant(plugin.name.as_str(), asked, calls, bytes)
    }

    fn context(
        &self,
        plugin: &PluginSettings,
        upstreams: Granted,
        methods: HashSet<String>,
    ) -> PluginContext {
        let config = &plugin.config;
        PluginContext {
            name: plugin.name.clone(),
            config: config
                .config
                .iter()
                .map(|(key, value)| (key.clone(), value.as_str().into()))
                .collect(),
            rate_limits: self.rate_limits.clone(),
            upstreams,
            methods,
            sandbox: SandboxLimits {
                memory_bytes: config.max_memory_bytes,
                table_elements: config.max_table_elements,
            },
            log: self.log,
            metadata: self.metadata,
            under_test: None,
        }
    }

    /// Also the warm-up: it is the first time that the component runs.
    async fn describe(
        &self,
        program: &Program,
        context: &Arc<PluginContext>,
        file: &str,
    ) -> Result<Description, LoadError> {
        let failed = |error: wasmtime::Error| LoadError::Describe {
            file: file.into(),
            reason: short(&error),
        };
        let described = program.describe(context.clone()).await.map_err(failed)?;
        Description::check(described).map_err(|error| LoadError::Description {
            file: file.into(),
            error,
        })
    }
}

fn paths(description: &Description) -> HashSet<String> {
    let methods = description.methods.iter();
    methods.map(|method| method.path.clone()).collect()
}

/// The error and its causes on one line, without stacks.
fn short(error: &wasmtime::Error) -> String {
    on_one_line(&format!("{error:#}"))
}

fn on_one_line(reason: &str) -> String {
    crate::observe::printable(reason, 1024)
}
