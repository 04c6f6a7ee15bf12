//! From the configuration to what loading needs.

use std::sync::Arc;

use anyhow::Context as _;

use super::load::Loader;
use super::registry::PluginSettings;
use crate::admission::{Division, Share};
use crate::capability::Namespace;
use crate::capability::limits::Limits;
use crate::capability::upstream::{Target, TargetOptions, Upstreams};
use crate::config::{Compiler, Config, Isolation};
use crate::metadata::MetadataLimits;
use crate::plugin::cache::CompiledCache;
use crate::plugin::engine::{Engine, EngineOptions};
use crate::plugin::stdio::LogLimits;
use crate::policy::MethodPolicies;

/// Sandboxes besides those of calls: plugins that describe themselves while they load.
pub(super) const LOADING_SANDBOXES: usize = 8;

/// Renewed sandboxes that are kept, per thread that serves, besides one for each plugin: calls take them and bring
/// them back in turn, so that few are idle at any moment.
const RENEWED_PER_WORKER: usize = 16;

impl PluginSettings {
    /// Every `[plugins.NAME]`, in the order of their names.
    ///
    /// # Errors
    /// If a name cannot be a namespace; the configuration's rule for names is stricter.
    pub fn all(config: &Config) -> anyhow::Result<Vec<Self>> {
        let settings = config.plugins.iter().map(|(name, plugin)| {
            Ok(Self {
                name: Namespace::new(name.as_str())?,
                config: plugin.clone(),
                methods: MethodPolicies::new(config, plugin),
                share: Arc::new(Share::new(division(config), plugin.max_concurrent_calls)),
                metrics: Arc::default(),
            })
        });
        settings.collect()
    }
}

impl Loader {
    /// With sandboxes for every call that may run, and the cache of compiled components.
    ///
    /// # Errors
    /// If the address space or the cache folder cannot be had.
    pub fn for_serving(config: &Config) -> anyhow::Result<Self> {
        let calls = config.server.max_concurrent_calls;
        // Pools keep sandboxes beyond those that calls use.
        let mut plugins = config.plugins.values();
        let idle = if plugins.any(|plugin| plugin.isolation == Isolation::Reuse) {
            calls
        } else {
            calls.min(RENEWED_PER_WORKER * worker_threads(config) + config.plugins.len())
        };
        let engine = engine(config, calls + idle)
            .with_context(|| format!("cannot reserve {} sandboxes", calls + idle))
            .context("lower server.max_concurrent_calls, or allow the process more address space")?;
        let cache = config.cache_dir().map(|dir| {
            CompiledCache::open(&dir, config.cache.max_bytes, engine.wasm())
                .with_context(|| format!("cannot use the cache folder {}", dir.display()))
        });
        Self::of(config, engine, cache.transpose()?, idle)
    }

    /// For one component at a time, which serves nothing and leaves nothing behind.
    ///
    /// # Errors
    /// If the address space cannot be had.
    pub fn for_inspection(config: &Config) -> anyhow::Result<Self> {
        Self::of(config, engine(config, 0)?, None, 0)
    }

    fn of(
        config: &Config,
        engine: Engine,
        cache: Option<CompiledCache>,
        idle: usize,
    ) -> anyhow::Result<Self> {
        let log = LogLimits {
            line_bytes: config.log.max_guest_line_bytes,
            lines_per_call: u32::try_from(config.log.max_guest_lines_per_call).unwrap_or(u32::MAX),
        };
        let metadata = MetadataLimits {
            max_bytes: config.server.max_response_metadata_bytes,
            max_entries: config.server.max_metadata_entries,
        };
        let rate_limits = Arc::new(Limits::new(config.rate_limits.max_buckets));
        let upstreams = upstreams(config)?;
        Ok(Self::new(
            engine,
            cache,
            rate_limits,
            upstreams,
            log,
            metadata,
            idle,
        ))
    }
}

/// Every `[upstreams.NAME]`.
fn upstreams(config: &Config) -> anyhow::Result<Upstreams> {
    let targets = config.upstreams.iter().map(|(name, upstream)| {
        let options = TargetOptions {
            url: upstream.url.clone(),
            ca_file: upstream.ca_file.clone(),
            methods: upstream.methods.clone(),
            forward_metadata: upstream.forward_metadata.clone(),
            max_concurrent: upstream.max_concurrent,
            max_queued: upstream.max_queued,
            connect_timeout: upstream.connect_timeout,
            timeout: upstream.timeout,
            retries: upstream.retries,
            breaker_failures: upstream.breaker_failures,
            breaker_open: upstream.breaker_open,
            max_request_bytes: upstream.max_request_bytes,
            max_response_bytes: upstream.max_response_bytes,
        };
        Target::new(name.as_str(), options).with_context(|| format!("upstreams.{name}"))
    });
    Ok(Upstreams::new(targets.collect::<anyhow::Result<Vec<_>>>()?))
}

/// How the host's slots are divided among its plugins.
pub fn division(config: &Config) -> Division {
    Division {
        running: config.server.max_concurrent_calls,
        waiting: config.server.max_queued_calls,
        plugins: config.plugins.len(),
        threads: worker_threads(config),
    }
}

/// As many as serve calls: an idle host has all its processors for a call that computes.
fn worker_threads(config: &Config) -> usize {
    config
        .server
        .worker_threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
}

fn engine(config: &Config, sandboxes: usize) -> anyhow::Result<Engine> {
    let plugins = || config.plugins.values();
    let options = EngineOptions {
        max_sandboxes: u32::try_from(sandboxes + LOADING_SANDBOXES).unwrap_or(u32::MAX),
        max_memory_bytes: plugins()
            .map(|plugin| plugin.max_memory_bytes)
            .max()
            .unwrap_or_default(),
        max_table_elements: plugins()
            .map(|plugin| plugin.max_table_elements)
            .max()
            .unwrap_or_default(),
        max_stack_bytes: config.engine.max_stack_bytes,
        background_threads: worker_threads(config),
        baseline: config.engine.compiler == Some(Compiler::Winch),
    };
    // wasmtime's error type is not one of std's.
    Engine::new(&options).map_err(|error| anyhow::anyhow!("{error:#}"))
}
