//! The plugins of a host and the generation that is live of each.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::generation::Generation;
use super::load::{LoadError, Loader};
use super::settings::LOADING_SANDBOXES;
use super::swap::{Looked, Swap};
use crate::admission::Share;
use crate::capability::Namespace;
use crate::config::{self, MethodName};
use crate::dispatch::Dispatcher;
use crate::observe::metrics::{LoadOutcome, PluginMetrics};
use crate::plugin::artifact::Artifact;
use crate::policy::MethodPolicies;
use crate::router::RoutingTable;

/// What the operator decided for one plugin.
pub struct PluginSettings {
    /// The operator's name for it.
    pub name: Namespace,
    /// `[plugins.NAME]`
    pub config: config::Plugin,
    /// What holds for its methods.
    pub methods: MethodPolicies,
    /// Of the host's slots: shared by all generations of the plugin.
    pub share: Arc<Share>,
    /// What is kept of all its generations.
    pub metrics: Arc<PluginMetrics>,
}

/// Loads plugins and makes them live.
pub struct Registry {
    loader: Loader,
    dispatcher: Arc<Dispatcher>,
    plugins: Vec<PluginSettings>,
    /// While calls are served one plugin is loaded at a time, which leaves the serving threads their cores. It is
    /// swapped in before the next file is read, so that of two versions the later one stays.
    loading: Semaphore,
    /// How many generations have turned live. Swaps happen one after another under its lock, which calls do
    /// not take.
    swaps: Mutex<u64>,
    /// The services that are served, for health.
    services: watch::Sender<Vec<String>>,
}

impl Registry {
    /// Nothing is loaded yet.
    pub fn new(loader: Loader, dispatcher: Arc<Dispatcher>, plugins: Vec<PluginSettings>) -> Self {
        Self {
            loader,
            dispatcher,
            plugins,
            loading: Semaphore::new(1),
            swaps: Mutex::default(),
            services: watch::Sender::new(Vec::new()),
        }
    }

    /// What loads them.
    pub fn loader(&self) -> &Loader {
        &self.loader
    }

    /// All plugins, loaded or not.
    pub fn plugins(&self) -> &[PluginSettings] {
        &self.plugins
    }

    /// The generations that are live now.
    pub fn live_generations(&self) -> Vec<Arc<Generation>> {
        self.dispatcher.router.table().generations().to_vec()
    }

    /// Those of `names` that no live generation serves.
    pub fn unserved<'n>(&self, names: &'n [MethodName]) -> Vec<&'n MethodName> {
        let live = self.live_generations();
        let served = |name: &MethodName| live.iter().any(|generation| generation.description.serves(name));
        names.iter().filter(|name| !served(name)).collect()
    }

    /// The services that are served, and every change of them.
    pub fn services(&self) -> watch::Receiver<Vec<String>> {
        self.services.subscribe()
    }

    /// Loads every plugin, one on each processor at a time, and makes live all that can be served; for a host that
    /// serves no calls yet. Returns the others, in the order of their names.
    pub async fn load_all(self: &Arc<Self>) -> Vec<(Namespace, LoadError)> {
        let processors = available_parallelism().map_or(1, Into::into);
        let turns = Arc::new(Semaphore::new(processors.min(LOADING_SANDBOXES)));
        let mut looks = JoinSet::new();
        for index in 0..self.plugins.len() {
            let (registry, turns) = (self.clone(), turns.clone());
            looks.spawn(async move {
                let _turn = turns.acquire().await;
                (index, registry.look(&registry.plugins[index]).await)
            });
        }
        let mut looks = looks.join_all().await;
        looks.sort_by_key(|(index, _)| *index);
        let (plugins, looks): (Vec<_>, Vec<_>) = looks
            .into_iter()
            .map(|(index, look)| (&self.plugins[index], look))
            .unzip();
        let loaded = self.swap(plugins.iter().copied().zip(looks));
        let refused = plugins.iter().zip(loaded);
        refused
            .filter_map(|(plugin, loaded)| Some((plugin.name.clone(), loaded.err()?)))
            .collect()
    }

    /// Reads the plugin's file and makes it live, unless the live generation is made of the same bytes.
    /// Returns the generation that is live afterwards.
    ///
    /// # Errors
    /// If the file cannot be served. What was live stays live.
    pub async fn load(&self, plugin: &PluginSettings) -> Result<Arc<Generation>, LoadError> {
        let _turn = self.loading.acquire().await;
        let look = self.look(plugin).await;
        let mut loaded = self.swap([(plugin, look)]);
        loaded.pop().expect("one look, one outcome")
    }

    /// Reads the plugin's file and makes a generation of it.
    async fn look(&self, plugin: &PluginSettings) -> Look {
        let began = Instant::now();
        let looked = self.read(plugin).await;
        Look {
            looked,
            took: began.elapsed(),
        }
    }

    async fn read(&self, plugin: &PluginSettings) -> Result<Looked, LoadError> {
        let (file, max_bytes) = (plugin.config.file.clone(), plugin.config.max_component_bytes);
        let artifact = tokio::task::spawn_blocking(move || Artifact::read(&file, max_bytes))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        if let Some(live) = self.live(&plugin.name)
            && live.digest == artifact.digest
        {
            return Ok(Looked::Unchanged(live));
        }
        let generation = self.loader.load(artifact, plugin).await?;
        Ok(Looked::New(Box::new(generation)))
    }

    fn live(&self, name: &Namespace) -> Option<Arc<Generation>> {
        let table = self.dispatcher.router.table();
        table
            .generations()
            .iter()
            .find(|generation| generation.name == *name)
            .cloned()
    }

    /// The swap: one pointer. Calls in flight hold the generation they were routed to. Returns the generation of each
    /// plugin that is live afterwards.
    fn swap<'p>(
        &self,
        looks: impl IntoIterator<Item = (&'p PluginSettings, Look)>,
    ) -> Vec<Result<Arc<Generation>, LoadError>> {
        let mut swaps = self.swaps.lock();
        let mut swap = Swap::of(&self.dispatcher.router.table(), *swaps);
        let put = looks.into_iter().map(|(plugin, Look { looked, took })| {
            let put = looked.and_then(|looked| swap.put(plugin, looked));
            (plugin, took, put)
        });
        let put: Vec<_> = put.collect();
        *swaps = swap.number();
        self.make_live(swap);
        drop(swaps);
        let outcomes = put.into_iter().map(|(plugin, took, put)| {
            let (outcome, refusal) = match &put {
                Ok((_, true)) => (LoadOutcome::Live, None),
                Ok((_, false)) => (LoadOutcome::Unchanged, None),
                Err(error) => (LoadOutcome::Refused, Some(error.to_string())),
            };
            plugin.metrics.looked(outcome, took, refusal);
            Ok(put?.0)
        });
        outcomes.collect()
    }

    fn make_live(&self, swap: Swap) {
        let new = swap.new_ones().to_vec();
        if new.is_empty() {
            return;
        }
        swap.went_live();
        let generations = swap.into_generations();
        let services = generations
            .iter()
            .flat_map(|live| live.description.services())
            .map(str::to_owned)
            .collect();
        self.dispatcher.router.swap(RoutingTable::new(generations));
        self.services.send_replace(services);
        for new in new {
            tracing::info!(
                plugin = %new.name,
                generation = new.number,
                version = new.description.version,
                digest = %new.digest,
                "live"
            );
        }
    }
}

/// What came of a look at a plugin's file.
struct Look {
    looked: Result<Looked, LoadError>,
    took: Duration,
}
