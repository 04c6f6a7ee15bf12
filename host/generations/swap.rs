//! One swap: what is live after it, put together before any call sees it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use super::generation::Generation;
use super::load::LoadError;
use super::registry::PluginSettings;
use crate::capability::Namespace;
use crate::observe::metrics::{GenerationMetrics, Identity};
use crate::router::RoutingTable;

/// A plugin's file, as it was looked at.
pub(super) enum Looked {
    /// The live generation is made of the same bytes.
    Unchanged(Arc<Generation>),
    /// Not live yet.
    New(Box<Generation>),
}

/// The generations that are live after a swap.
pub(super) struct Swap {
    live: BTreeMap<Namespace, Arc<Generation>>,
    /// The plugin of each service: one alone may have it.
    owners: HashMap<String, Namespace>,
    /// Of the latest generation of all.
    number: u64,
    new: Vec<Arc<Generation>>,
}

impl Swap {
    /// After which the same are live as in `table`; `number` of them have been so far.
    pub(super) fn of(table: &RoutingTable, number: u64) -> Self {
        let mut swap = Self {
            live: BTreeMap::new(),
            owners: HashMap::new(),
            number,
            new: Vec::new(),
        };
        for generation in table.generations() {
            swap.insert(generation.clone());
        }
        swap
    }

    /// Puts what `plugin` is now in the place of what it was. Returns the generation that is live after the swap,
    /// and whether it is a new one: not if another look at the same file was faster.
    ///
    /// # Errors
    /// If another plugin serves one of its services. The plugin stays what it was then.
    pub(super) fn put(
        &mut self,
        plugin: &PluginSettings,
        looked: Looked,
    ) -> Result<(Arc<Generation>, bool), LoadError> {
        let mut new = match looked {
            Looked::Unchanged(live) => return Ok((live, false)),
            Looked::New(new) => *new,
        };
        let before = self.live.get(&plugin.name);
        if let Some(live) = before.filter(|live| live.digest == new.digest) {
            return Ok((live.clone(), false));
        }
        for service in new.description.services() {
            let owner = self.owners.get(service);
            if let Some(owner) = owner.filter(|owner| **owner != plugin.name) {
                return Err(LoadError::ServiceTaken {
                    file: plugin.config.file.display().to_string(),
                    service: service.to_owned(),
                    owner: owner.to_string(),
                });
            }
        }
        self.number += 1;
        new.number = self.number;
        let new = Arc::new(new);
        self.owners.retain(|_, owner| *owner != plugin.name);
        self.insert(new.clone());
        self.new.push(new.clone());
        Ok((new, true))
    }

    fn insert(&mut self, generation: Arc<Generation>) {
        for service in generation.description.services() {
            self.owners.insert(service.to_owned(), generation.name.clone());
        }
        self.live.insert(generation.name.clone(), generation);
    }

    /// The new ones are counted and shown from now on.
    pub(super) fn went_live(&self) {
        for new in &self.new {
            let identity = Identity {
                number: new.number,
                version: new.description.version.clone(),
                digest: new.digest.to_string(),
                since: SystemTime::now(),
            };
            GenerationMetrics::went_live(&new.metrics, identity);
        }
    }

    /// Of the latest generation of all.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Those that were not live before.
    pub(super) fn new_ones(&self) -> &[Arc<Generation>] {
        &self.new
    }

    /// The live generations, in the order of their names.
    pub(super) fn into_generations(self) -> Vec<Arc<Generation>> {
        self.live.into_values().collect()
    }
}
