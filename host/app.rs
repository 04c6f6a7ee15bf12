//! A whole host, put together from its configuration.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

use crate::admin::{Admin, Host};
use crate::admission::Admission;
use crate::admission::rates::{CallerRates, Rates};
use crate::auth::Authenticator;
use crate::capability::Namespace;
use crate::capability::events::{
    JsonLines, Log as EventLog, Relay, RelayOptions, Sink, Subscription, SubscriptionOptions,
};
use crate::capability::store::{
    AnswerOptions, Bounds, DeferredBounds, OpenError, Options as StoreOptions, PluginOptions, Quota, Store,
};
use crate::capability::timers::{TimerOptions, Timers};
use crate::config::{Config, MethodName};
use crate::contention::Contention;
use crate::dispatch::{CallLimits, CutOff, Dispatcher};
use crate::generations::{LoadError, Loader, PluginSettings, Registry, division};
use crate::idempotency::Idempotency;
use crate::observe::CallLog;
use crate::observe::metrics::{self, Collector, Reasons};
use crate::policy::HostPolicies;
use crate::router::Router;
use crate::server::{
    Compression, FrameBudgets, Health, ListenOptions, Listener, Listening, Origins, Proxies, RequestBounds,
    RequestMemory, ServerOptions, Tls, UnixSocketOptions, serve,
};
use crate::turns::WaitOptions;

/// What sinks have at least to finish what they are writing.
const MIN_STOP: Duration = Duration::from_secs(5);

/// For the statuses of calls that are cut off to be sent.
const LAST_STATUSES: Duration = Duration::from_secs(1);

/// The plugins that cannot be served, each with its reason. Never empty.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|(name, error)| format!("plugin {name}: {error}")).collect::<Vec<_>>().join("\n"))]
pub struct PluginsRefused(pub Vec<(Namespace, LoadError)>);

/// A host that is ready to serve: everything is open, nothing is loaded yet.
pub struct App {
    /// Loads plugins.
    pub registry: Arc<Registry>,
    /// Knows callers.
    pub auth: Arc<Authenticator>,
    dispatcher: Arc<Dispatcher>,
    store: Store,
    relay: Relay,
    timers: Timers,
    listener: Listener,
    admin: Admin,
    /// Turned true when the host is asked to end.
    stopping: watch::Sender<bool>,
    options: ServerOptions,
    drain_delay: Duration,
    drain_timeout: Duration,
    /// The names of `[methods.NAME]`.
    methods: Vec<MethodName>,
    /// Name, plugin and method of each `[subscriptions.NAME]`.
    subscribed: Vec<(String, Namespace, String)>,
}

impl App {
    /// Opens the data folder, the store and the listening socket.
    ///
    /// # Errors
    /// The first thing that cannot be had, with what to do about it.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        Self::start_with(config, Store::open).await
    }

    /// The same, with a store that `open` opens, for instance one on storage of another kind.
    ///
    /// # Errors
    /// As those of [`start`](Self::start).
    pub async fn start_with(
        config: &Config,
        open: impl FnOnce(&Path, StoreOptions) -> Result<Store, OpenError>,
    ) -> anyhow::Result<Self> {
        metrics::started();
        let server = &config.server;
        // First what others may hold: the port and the data folder.
        let listener = Listener::bind(&listen_options(config))?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&server.data)
            .with_context(|| format!("cannot make the data folder {}", server.data.display()))?;
        let store = open(&store_folder(&server.data), store_options(config)?)?;
        let auth = Arc::new(authenticator(config)?);
        let dispatcher = Arc::new(Dispatcher {
            router: Router::default(),
            auth: auth.clone(),
            rates: caller_rates(config),
            admission: Admission::new(division(config)),
            store: store.clone(),
            contention: Contention::default(),
            idempotency: Idempotency::new(WaitOptions {
                max_wait: config.idempotency.max_wait,
                max_waiting: config.idempotency.max_waiting,
            }),
            limits: call_limits(config),
            log: CallLog::new((!config.log.slow_call.is_zero()).then_some(config.log.slow_call)),
            unrouted: Reasons::default(),
            cut_off: CutOff::default(),
        });
        let stopping = watch::Sender::new(false);
        let mut sinks = sinks(config)?;
        let (mut subscriptions, mut subscribed) = (Vec::new(), Vec::new());
        for options in subscription_options(config)? {
            let name = options.name.clone();
            subscribed.push((name.clone(), options.plugin.clone(), options.method.clone()));
            let subscription = Subscription::new(&store, dispatcher.clone(), options, stopping.subscribe());
            subscriptions.push((name, subscription.metrics()));
            sinks.push(Box::new(subscription));
        }
        let relay = Relay::start(&store, sinks, RelayOptions::default())
            .await
            .context("cannot deliver events")?;
        let timers = Timers::start(&store, dispatcher.clone(), timer_options(config));
        let loader = Loader::for_serving(config)?;
        let registry = Registry::new(loader, dispatcher.clone(), PluginSettings::all(config)?);
        let registry = Arc::new(registry);
        let host = Host {
            parts: Collector {
                registry: registry.clone(),
                dispatcher: dispatcher.clone(),
                store: store.clone(),
                events: relay.progress(),
                subscriptions,
                timers: timers.metrics(),
                connections: listener.metrics().clone(),
                draining: stopping.subscribe(),
            },
            address: listener.listening()?.to_string(),
        };
        let admin = Admin::start(host, &server.data, config.admin.listen).await?;
        Ok(Self {
            registry,
            auth,
            dispatcher,
            store,
            relay,
            timers,
            listener,
            admin,
            stopping,
            options: server_options(config)?,
            drain_delay: server.drain_delay,
            drain_timeout: server.drain_timeout,
            methods: config.plugin_methods().cloned().collect(),
            subscribed,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn listening(&self) -> std::io::Result<Listening> {
        self.listener.listening()
    }

    /// Reads the certificate and the key again when their files change, until dropped.
    ///
    /// # Errors
    /// If their folders cannot be watched.
    pub fn reload_certificates(&self) -> notify::Result<impl Future<Output = ()> + use<>> {
        let reloading = self.options.tls.as_ref().map(Tls::reload_on_change).transpose()?;
        Ok(async move {
            if let Some(reloading) = reloading {
                reloading.await;
            }
        })
    }

    /// Where `[admin] listen` says that probes and collectors are served.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// Loads every plugin.
    ///
    /// # Errors
    /// All plugins that cannot be served.
    pub async fn load_plugins(&self) -> Result<(), PluginsRefused> {
        let refused = self.registry.load_all().await;
        if !refused.is_empty() {
            return Err(PluginsRefused(refused));
        }
        for name in self.registry.unserved(&self.methods) {
            tracing::warn!(methods = %name, "no plugin serves what this section is for");
        }
        for (subscription, plugin, method) in &self.subscribed {
            // It may have it in a later version: events wait, and are given up in time.
            if self.dispatcher.router.find(plugin, method).is_err() {
                tracing::warn!(subscription, %plugin, method, "the plugin has no method for its events");
            }
        }
        Ok(())
    }

    /// Serves until `shutdown` completes, then drains: health turns NOT_SERVING, after the drain delay
    /// connections get GOAWAY, calls in flight get up to the drain timeout, and the store is closed.
    ///
    /// # Errors
    /// If the server cannot run.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let dispatcher = self.dispatcher.clone();
        let health = Health::new(self.registry.services(), self.stopping.subscribe());
        let (drain, draining) = watch::channel(false);
        let mut server = std::pin::pin!(serve(
            self.listener,
            &self.options,
            self.dispatcher,
            health,
            draining
        ));
        tokio::select! {
            () = &mut server => {}
            () = shutdown => {
                self.stopping.send_replace(true);
                self.timers.close();
                // New calls are still served while load balancers take notice.
                let delay = tokio::time::sleep(self.drain_delay);
                tokio::select! {
                    () = &mut server => {}
                    () = delay => {}
                }
                drain.send_replace(true);
                if tokio::time::timeout(self.drain_timeout, &mut server).await.is_err() {
                    tracing::warn!("drain_timeout_ms passed: calls in flight are cut off");
                    dispatcher.cut_off.now();
                    // A client that does not take its status by then does not get it.
                    let _ = tokio::time::timeout(LAST_STATUSES, server).await;
                }
            }
        }
        // The calls that the host makes itself had as long as those of clients.
        let stopped = async {
            tokio::join!(self.timers.stop(), self.relay.stop());
        };
        if tokio::time::timeout(self.drain_timeout.max(MIN_STOP), stopped)
            .await
            .is_err()
        {
            tracing::warn!("drain_timeout_ms passed: deliveries of events and calls of timers are cut off");
        }
        // While the data folder's lock is held: after it the socket may be another host's.
        drop(self.admin);
        self.store.close();
        tracing::info!("stopped");
        Ok(())
    }
}

/// Where the store is in a data folder.
pub fn store_folder(data: &Path) -> PathBuf {
    data.join("store")
}

/// How the store of a host with this configuration is opened.
///
/// # Errors
/// If a plugin's name cannot be a namespace; the configuration's rule for names is stricter.
pub fn store_options(config: &Config) -> anyhow::Result<StoreOptions> {
    let (store, events) = (&config.store, &config.events);
    let bounds = Bounds {
        max_key_bytes: store.max_key_bytes,
        max_value_bytes: store.max_value_bytes,
        max_operations: store.max_transaction_operations,
        max_staged_bytes: store.max_transaction_bytes,
        max_page_entries: store.max_scan_entries,
        max_page_bytes: store.max_scan_bytes,
    };
    let plugins = config.plugins.iter().map(|(name, plugin)| {
        let options = PluginOptions {
            bounds: Bounds {
                max_value_bytes: plugin.max_value_bytes.unwrap_or(bounds.max_value_bytes),
                max_operations: plugin.max_transaction_operations.unwrap_or(bounds.max_operations),
                ..bounds.clone()
            },
            quota: Quota {
                max_bytes: plugin.max_store_bytes,
                max_keys: plugin.max_store_keys,
            },
            durability: plugin.durability,
        };
        Ok((Namespace::new(name.as_str())?, options))
    });
    Ok(StoreOptions {
        plugins: plugins.collect::<anyhow::Result<_>>()?,
        cache_bytes: store.cache_bytes,
        read_threads: store.read_threads,
        max_queued_commits: store.commit_queue,
        max_queued_bytes: store.commit_queue_bytes,
        max_log_bytes: store.conflict_log_bytes,
        max_outbox_entries: events.max_undelivered,
        max_outbox_bytes: events.max_undelivered_bytes,
        relaxed_window: store.relaxed_window,
        bounds,
        deferred: DeferredBounds {
            max_per_call: config.timers.max_per_call,
            max_request_bytes: config.timers.max_request_bytes,
            max_pending: config.timers.max_pending,
            max_pending_bytes: config.timers.max_pending_bytes,
            max_dead_letters: events.max_dead_letters,
            max_dead_letter_bytes: events.max_dead_letter_bytes,
        },
        answers: AnswerOptions {
            retention: config.idempotency.retention,
            max_bytes: config.idempotency.max_bytes,
            ..AnswerOptions::default()
        },
        ..StoreOptions::default()
    })
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

/// Every `[subscriptions.NAME]`.
fn subscription_options(config: &Config) -> anyhow::Result<Vec<SubscriptionOptions>> {
    let subscriptions = config.subscriptions.iter().map(|(name, subscription)| {
        Ok(SubscriptionOptions {
            name: name.to_string(),
            topics: subscription.topics.clone(),
            plugin: Namespace::new(&subscription.plugin)?,
            method: format!("/{}", subscription.method),
            max_concurrent: subscription.max_concurrent,
            max_attempts: subscription.max_attempts,
            timeout: subscription.timeout,
            backoff: SubscriptionOptions::BACKOFF,
        })
    });
    subscriptions.collect()
}

fn timer_options(config: &Config) -> TimerOptions {
    let timers = &config.timers;
    TimerOptions {
        max_concurrent: timers.max_concurrent,
        max_attempts: timers.max_attempts,
        timeout: timers.timeout,
        ..TimerOptions::default()
    }
}

fn authenticator(config: &Config) -> anyhow::Result<Authenticator> {
    Authenticator::load(&config.auth, &config.issuers).map_err(|refused| {
        let refused: Vec<_> = refused
            .iter()
            .map(|refused| format!("issuers.{}: {refused}", refused.issuer))
            .collect();
        anyhow::anyhow!("{}", refused.join("\n"))
    })
}

fn call_limits(config: &Config) -> CallLimits {
    let server = &config.server;
    CallLimits {
        requests: RequestBounds {
            max_bytes: server.max_request_bytes,
            timeout: server.request_timeout,
            memory: RequestMemory::new(server.max_request_memory_bytes),
        },
        max_metadata_bytes: server.max_metadata_bytes,
        max_metadata_entries: server.max_metadata_entries,
        max_response_metadata_bytes: server.max_response_metadata_bytes,
        max_attempts: config.store.max_attempts,
        compression: Compression::new(server.compression.clone()),
        error_details: server.error_details,
    }
}

fn listen_options(config: &Config) -> ListenOptions {
    let server = &config.server;
    let unix_socket = server.unix_socket.as_ref().map(|path| UnixSocketOptions {
        path: path.clone(),
        mode: server.unix_socket_mode,
    });
    ListenOptions {
        address: server.listen_tcp.then_some(server.listen),
        reuse_port: server.reuse_port,
        unix_socket,
        max_connections: server.max_connections,
        send_timeout: unless_zero(server.keepalive_interval)
            .map(|interval| interval + server.keepalive_timeout),
    }
}

fn unless_zero(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

fn caller_rates(config: &Config) -> CallerRates {
    let server = &config.server;
    let host = Rates {
        all: None,
        peer: server.rate_per_peer,
        principal: server.rate_per_principal,
    };
    CallerRates::new(host, config.rate_limits.max_buckets)
}

fn server_options(config: &Config) -> anyhow::Result<ServerOptions> {
    let server = &config.server;
    Ok(ServerOptions {
        max_metadata_bytes: u32::try_from(server.max_metadata_bytes).unwrap_or(u32::MAX),
        max_streams_per_connection: server.max_streams_per_connection,
        max_connections_per_peer: server.max_connections_per_peer,
        header_timeout: server.header_timeout,
        frames: FrameBudgets {
            resets_per_second: server.max_resets_per_second,
            control_per_second: server.max_control_frames_per_second,
        },
        proxies: Proxies::new(server.trusted_proxies.clone(), server.client_address_from),
        keepalive_interval: unless_zero(server.keepalive_interval),
        keepalive_timeout: server.keepalive_timeout,
        max_connection_idle: unless_zero(server.max_connection_idle),
        response_timeout: server.response_timeout,
        max_response_memory_bytes: server.max_response_memory_bytes,
        max_connection_age: server.max_connection_age,
        max_connection_age_grace: server.max_connection_age_grace,
        reflection: server.reflection,
        tls: config.tls_files().map(|files| Tls::load(&files)).transpose()?,
        handshake_timeout: server.tls_handshake_timeout,
        origins: Origins::new(&server.grpc_web_origins),
        host_policies: HostPolicies::new(config),
    })
}
