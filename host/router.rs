//! From `/package.Service/Method` to the generation that serves it now.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::capability::Namespace;
use crate::generations::Generation;
use crate::policy::MethodPolicy;

/// Where a call goes. It holds its generation until the call has ended, whatever is swapped meanwhile.
#[derive(Clone)]
pub struct Route {
    /// The generation that serves the call from beginning to end.
    pub generation: Arc<Generation>,
    /// The method's index in that generation.
    pub method: usize,
}

impl Route {
    /// What the operator allows the method.
    pub fn policy(&self) -> &MethodPolicy {
        self.generation.policy(self.method)
    }
}

/// Every route of one moment. Immutable: a swap makes a new table.
#[derive(Default)]
pub struct RoutingTable {
    routes: HashMap<String, Route>,
    generations: Vec<Arc<Generation>>,
}

impl RoutingTable {
    /// The table in which `generations` serve; at most one per plugin, and no service twice.
    pub fn new(generations: Vec<Arc<Generation>>) -> Self {
        let mut routes = HashMap::new();
        for generation in &generations {
            for (method, described) in generation.description.methods.iter().enumerate() {
                if !described.internal {
                    routes.insert(
                        described.path.clone(),
                        Route {
                            generation: generation.clone(),
                            method,
                        },
                    );
                }
            }
        }
        Self { routes, generations }
    }

    /// The live generation of each plugin, in the order of their names.
    pub fn generations(&self) -> &[Arc<Generation>] {
        &self.generations
    }
}

/// Why a call of the host's own has no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// No generation of the plugin is live.
    Plugin,
    /// The live generation has no such method.
    Method,
}

/// The one pointer that a swap replaces.
#[derive(Default)]
pub struct Router {
    table: ArcSwap<RoutingTable>,
}

impl Router {
    /// Routes a call. The pointer is loaded exactly once, so a call sees one moment only.
    pub fn resolve(&self, path: &str) -> Option<Route> {
        self.table.load().routes.get(path).cloned()
    }

    /// Routes a call that the host itself makes, to a method of one plugin, internal or not.
    ///
    /// # Errors
    /// If there is no such method now.
    pub fn find(&self, plugin: &Namespace, path: &str) -> Result<Route, NotFound> {
        let table = self.table.load();
        let live = table.generations.iter().find(|live| live.name == *plugin);
        let generation = live.ok_or(NotFound::Plugin)?;
        let methods = &generation.description.methods;
        let method = methods.iter().position(|method| method.path == path);
        Ok(Route {
            generation: generation.clone(),
            method: method.ok_or(NotFound::Method)?,
        })
    }

    /// The table of this moment.
    pub fn table(&self) -> Arc<RoutingTable> {
        self.table.load_full()
    }

    /// Makes `table` live. Calls already routed are not touched.
    pub fn swap(&self, table: RoutingTable) {
        self.table.store(Arc::new(table));
    }
}
