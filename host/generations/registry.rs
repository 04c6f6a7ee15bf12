//! The plugins of a host and the generation that is live of each.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::generation::Generation;
use super::load::{LoadError, Loader};
use crate::admission::Share;
use crate::capability::Namespace;
use crate::config::{self, MethodName};
use crate::dispatch::Dispatcher;
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
}

/// Loads plugins and makes them live.
pub struct Registry {
    loader: Loader,
    dispatcher: Arc<Dispatcher>,
    plugins: Vec<PluginSettings>,
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
            swaps: Mutex::default(),
            services: watch::Sender::new(Vec::new()),
        }
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

    /// Reads the plugin's file and makes it live, unless the live generation is made of the same bytes.
    /// Returns the generation that is live afterwards.
    ///
    /// # Errors
    /// If the file cannot be served. What was live stays live.
    pub async fn load(&self, plugin: &PluginSettings) -> Result<Arc<Generation>, LoadError> {
        let (file, max_bytes) = (plugin.config.file.clone(), plugin.config.max_component_bytes);
        let artifact = tokio::task::spawn_blocking(move || Artifact::read(&file, max_bytes))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        if let Some(live) = self.live(&plugin.name)
            && live.digest == artifact.digest
        {
            return Ok(live);
        }
        let generation = self.loader.load(artifact, plugin).await?;
        self.swap(plugin, generation)
    }

    fn live(&self, name: &Namespace) -> Option<Arc<Generation>> {
        let table = self.dispatcher.router.table();
        table
            .generations()
            .iter()
            .find(|generation| generation.name == *name)
            .cloned()
    }

    /// The swap: one pointer. Calls in flight hold the generation they were routed to.
    fn swap(&self, plugin: &PluginSettings, mut new: Generation) -> Result<Arc<Generation>, LoadError> {
        let mut swaps = self.swaps.lock();
        let table = self.dispatcher.router.table();
        let mut generations: Vec<_> = table.generations().to_vec();
        generations.retain(|generation| generation.name != plugin.name);
        check_services(plugin, &new, &generations)?;
        *swaps += 1;
        new.number = *swaps;
        let new = Arc::new(new);
        generations.push(new.clone());
        generations.sort_by(|a, b| a.name.cmp(&b.name));
        let services = generations
            .iter()
            .flat_map(|live| live.description.services())
            .map(str::to_owned)
            .collect();
        self.dispatcher.router.swap(RoutingTable::new(generations));
        self.services.send_replace(services);
        tracing::info!(
            plugin = %new.name,
            generation = new.number,
            version = new.description.version,
            digest = %new.digest,
            "live"
        );
        Ok(new)
    }
}

/// A service belongs to one plugin.
fn check_services(
    plugin: &PluginSettings,
    new: &Generation,
    others: &[Arc<Generation>],
) -> Result<(), LoadError> {
    for service in new.description.services() {
        let owner = others
            .iter()
            .find(|other| other.description.services().contains(&service));
        if let Some(owner) = owner {
            return Err(LoadError::ServiceTaken {
                file: plugin.config.file.display().to_string(),
                service: service.to_owned(),
                owner: owner.name.to_string(),
            });
        }
    }
    Ok(())
}
