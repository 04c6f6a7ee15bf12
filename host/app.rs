//! A whole host, put together from its configuration.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Semaphore, watch};
use tonic_health::server::{HealthReporter, HealthService};

use crate::admission::Admission;
use crate::capability::Namespace;
use crate::capability::events::{JsonLines, Log as EventLog, Relay, RelayOptions, Sink};
use crate::capability::limits::Limits;
use crate::capability::store::{Bounds, Options as StoreOptions, Store};
use crate::config::{Config, Isolation};
use crate::deadline::DeadlinePolicy;
use crate::dispatch::{CallLimits, Dispatcher};
use crate::generations::{Loader, PluginSettings, Registry};
use crate::metadata::MetadataLimits;
use crate::plugin::cache::CompiledCache;
use crate::plugin::engine::{Engine, EngineOptions};
use crate::plugin::stdio::LogLimits;
use crate::router::Router;
use crate::server::{Health, Listener, ServerOptions, serve};

/// Sandboxes besides those of calls: plugins that describe themselves while they load.
const LOADING_SANDBOXES: usize = 8;

/// A host that is ready to serve: everything is open, nothing is loaded yet.
pub struct App {
    /// Loads plugins.
    pub registry: Arc<Registry>,
    dispatcher: Arc<Dispatcher>,
    store: Store,
    relay: Relay,
    listener: Listener,
    options: ServerOptions,
    drain_delay: Duration,
    drain_timeout: Duration,
}

impl App {
    /// Opens the data folder, the store and the listening socket.
    ///
    /// # Errors
    /// The first thing that cannot be had, with what to do about it.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let server = &config.server;
        // First what others may hold: the port and the data folder.
        let listener = Listener::bind(server.listen, server.max_connections)?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&server.data)
            .with_context(|| format!("cannot make the data folder {}", server.data.display()))?;
        let store = Store::open(&server.data.join("store"), store_options(config))?;
        let relay = Relay::start(&store, sinks(config)?, RelayOptions::default())
            .await
            .context("cannot deliver events")?;
        let engine = Engine::new(&engine_options(config)).map_err(|error| {
            anyhow::anyhow!(
                "cannot reserve {} sandboxes: {error:#}; lower server.max_concurrent_calls",
                server.max_concurrent_calls
            )
        })?;
        let dispatcher = Arc::new(Dispatcher {
            router: Router::default(),
            admission: Admission::new(server.max_concurrent_calls, server.max_queued_calls),
            store: store.clone(),
            limits: call_limits(config),
        });
        let loader = loader(config, engine)?;
        let registry = Registry::new(loader, dispatcher.clone(), plugin_settings(config)?);
        Ok(Self {
            registry: Arc::new(registry),
            dispatcher,
            store,
            relay,
            listener,
            options: server_options(config),
            drain_delay: server.drain_delay,
            drain_timeout: server.drain_timeout,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Loads every plugin.
    ///
    /// # Errors
    /// All plugins that cannot be served.
    pub async fn load_plugins(&self) -> anyhow::Result<()> {
        let mut refused = Vec::new();
        for plugin in self.registry.plugins() {
            if let Err(error) = self.registry.load(plugin).await {
                refused.push(format!("plugin {}: {error}", plugin.name));
            }
        }
        anyhow::ensure!(refused.is_empty(), "{}", refused.join("\n"));
        Ok(())
    }

    /// Serves until `shutdown` completes, then drains: health turns NOT_SERVING, after the drain delay
    /// connections get GOAWAY, calls in flight get up to the drain timeout, and the store is closed.
    ///
    /// # Errors
    /// If the server cannot run.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let reporter = HealthReporter::new();
        let health = HealthService::from_health_reporter(reporter.clone());
        let (unhealthy, not_serving) = watch::channel(false);
        let health_follows = tokio::spawn(Health::new(reporter, self.registry.services()).follow(not_serving));
        let (drain, draining) = watch::channel(false);
        let mut server =
            std::pin::pin!(serve(self.listener, &self.options, self.dispatcher, health, draining));
        tokio::select! {
            ended = &mut server => ended?,
            () = shutdown => {
                unhealthy.send_replace(true);
                // Sent means said: health has turned before the delay begins.
                let _ = health_follows.await;
                // New calls are still served while load balancers take notice.
                let delay = tokio::time::sleep(self.drain_delay);
                tokio::select! {
                    ended = &mut server => ended?,
                    () = delay => {}
                }
                drain.send_replace(true);
                match tokio::time::timeout(self.drain_timeout, server).await {
                    Ok(ended) => ended?,
                    Err(_) => tracing::warn!("drain_timeout_ms passed: calls in flight are cut off"),
                }
            }
        }
        self.relay.stop().await;
        self.store.close();
        tracing::info!("stopped");
        Ok(())
    }
}

fn store_options(config: &Config) -> StoreOptions {
    let store = &config.store;
    StoreOptions {
        cache_bytes: store.cache_bytes,
        max_queued_commits: store.commit_queue,
        bounds: Bounds {
            max_key_bytes: store.max_key_bytes,
            max_value_bytes: store.max_value_bytes,
            max_operations: store.max_transaction_operations,
            max_staged_bytes: store.max_transaction_bytes,
            max_page_entries: store.max_scan_entries,
            ..Bounds::default()
        },
        ..StoreOptions::default()
    }
}

fn sinks(config: &Config) -> anyhow::Result<Vec<Box<dyn Sink>>> {
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(EventLog)];
    if let Some(file) = config.events_file() {
        let journal = JsonLines::open(&file)
            .with_context(|| format!("cannot open the events file {}", file.display()))?;
        sinks.push(Box::new(journal));
    }
    Ok(sinks)
}

/// Pools of `isolation = "reuse"` keep sandboxes beyond those that calls use.
fn idle_sandboxes(config: &Config) -> usize {
    let reuses = config.plugins.values().any(|plugin| plugin.isolation == Isolation::Reuse);
    if reuses { config.server.max_concurrent_calls } else { 0 }
}

fn engine_options(config: &Config) -> EngineOptions {
    let plugins = || config.plugins.values();
    let sandboxes = config.server.max_concurrent_calls + idle_sandboxes(config) + LOADING_SANDBOXES;
    EngineOptions {
        max_sandboxes: u32::try_from(sandboxes).unwrap_or(u32::MAX),
        max_memory_bytes: plugins().map(|plugin| plugin.max_memory_bytes).max().unwrap_or(64 << 20),
        max_table_elements: plugins().map(|plugin| plugin.max_table_elements).max().unwrap_or(20_000),
        max_stack_bytes: config.engine.max_stack_bytes,
    }
}

fn call_limits(config: &Config) -> CallLimits {
    let server = &config.server;
    CallLimits {
        deadlines: DeadlinePolicy { default: server.default_deadline, maximum: server.max_deadline },
        max_request_bytes: server.max_request_bytes,
        max_response_bytes: server.max_response_bytes,
        max_metadata_entries: server.max_metadata_entries,
        max_response_metadata_bytes: server.max_response_metadata_bytes,
        max_attempts: config.store.max_attempts,
    }
}

fn loader(config: &Config, engine: Engine) -> anyhow::Result<Loader> {
    let cache = config
        .cache_dir()
        .map(|dir| {
            CompiledCache::open(&dir, config.cache.max_bytes, engine.wasm())
                .with_context(|| format!("cannot use the cache folder {}", dir.display()))
        })
        .transpose()?;
    let log = LogLimits {
        line_bytes: config.log.max_guest_line_bytes,
        lines_per_call: u32::try_from(config.log.max_guest_lines_per_call).unwrap_or(u32::MAX),
    };
    let metadata = MetadataLimits {
        max_bytes: config.server.max_response_metadata_bytes,
        max_entries: config.server.max_metadata_entries,
    };
    let rate_limits = Arc::new(Limits::new(Limits::DEFAULT_MAX_BUCKETS));
    Ok(Loader::new(engine, cache, rate_limits, log, metadata, idle_sandboxes(config)))
}

fn plugin_settings(config: &Config) -> anyhow::Result<Vec<PluginSettings>> {
    let settings = config.plugins.iter().map(|(name, plugin)| {
        let permits = plugin.max_concurrent_calls.map(|calls| Arc::new(Semaphore::new(calls)));
        Ok(PluginSettings { name: Namespace::new(name.as_str())?, config: plugin.clone(), permits })
    });
    settings.collect()
}

fn server_options(config: &Config) -> ServerOptions {
    let server = &config.server;
    ServerOptions {
        max_metadata_bytes: u32::try_from(server.max_metadata_bytes).unwrap_or(u32::MAX),
        max_streams_per_connection: server.max_streams_per_connection,
        keepalive_interval: (!server.keepalive_interval.is_zero()).then_some(server.keepalive_interval),
        keepalive_timeout: server.keepalive_timeout,
        reflection: server.reflection,
    }
}
