//! From a file to a generation: read, check, compile, link, describe. Each step can refuse, and a refusal
//! changes nothing.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use super::gate::{self, GateError};
use super::generation::{Generation, Method};
use super::make::{Made, Maker, short};
use super::native::NativeHandler;
use super::registry::PluginSettings;
use crate::capability::limits::Limits;
use crate::capability::upstream::{Granted, Upstreams};
use crate::config::Isolation;
use crate::metadata::MetadataLimits;
use crate::observe::metrics::GenerationMetrics;
use crate::plugin::artifact::{Artifact, ArtifactError, Digest};
use crate::plugin::cache::CompiledCache;
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
            native: OnceLock::new(),
        }
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
        let Made {
            program,
            cached,
            unfit,
        } = self.make(artifact, plugin).await?;
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

    async fn make(&self, artifact: Artifact, plugin: &PluginSettings) -> Result<Made, LoadError> {
        let file = artifact.path.display().to_string();
        let maker = Maker {
            engine: self.engine.clone(),
            cache: self.cache.clone(),
            artifact: Arc::new(artifact),
            linking: plugin.config.linking,
            metrics: plugin.metrics.clone(),
        };
        let made = tokio::task::spawn_blocking(move || maker.make()).await;
        made.unwrap_or_else(|panic| {
            Err(LoadError::Compile {
                file,
                reason: short(&wasmtime::Error::msg(panic.to_string())),
            })
        })
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
