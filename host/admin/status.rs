//! How the host and its plugins are doing.

use super::generations;
use super::pb::{GetStatusResponse, HostState, PluginStatus, Refusal};
use crate::capability::store::Health;
use crate::generations::PluginSettings;
use crate::observe::metrics::{self, Collector};

/// The host that is administered.
pub struct Host {
    /// Knows all of its parts.
    pub parts: Collector,
    /// Where it serves calls.
    pub address: String,
}

impl Host {
    /// Why load balancers should send no calls; none if they should.
    pub(super) fn not_ready(&self) -> Option<String> {
        match self.state() {
            HostState::Draining => return Some("draining".into()),
            HostState::Starting => return Some("starting: not every plugin is loaded".into()),
            HostState::Serving | HostState::Unspecified => {}
        }
        match self.store_failure().is_empty() {
            true => None,
            // Why, the operator hears from elsewhere.
            false => Some("the store is not available".into()),
        }
    }

    fn state(&self) -> HostState {
        if *self.parts.draining.borrow() {
            return HostState::Draining;
        }
        let live = self.parts.registry.live_generations();
        let is_live = |plugin: &PluginSettings| live.iter().any(|live| live.name == plugin.name);
        match self.parts.registry.plugins().iter().all(is_live) {
            true => HostState::Serving,
            false => HostState::Starting,
        }
    }

    /// Empty while it works.
    fn store_failure(&self) -> String {
        match self.parts.store.health() {
            Health::Open => String::new(),
            Health::Closed => "it is closed".into(),
            Health::Failed { cause } => cause,
        }
    }

    /// Everything that is counted.
    ///
    /// # Errors
    /// If gathering it panics.
    pub(super) async fn metrics(&self) -> Result<String, tokio::task::JoinError> {
        let parts = self.parts.clone();
        tokio::task::spawn_blocking(move || parts.page()).await
    }
}

pub(super) fn get(host: &Host) -> GetStatusResponse {
    let plugins = host.parts.registry.plugins().iter();
    GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").into(),
        started_at: Some(metrics::start_time().into()),
        uptime: prost_types::Duration::try_from(metrics::uptime()).ok(),
        state: host.state().into(),
        ready: host.not_ready().is_none(),
        address: host.address.clone(),
        plugins: plugins.map(|plugin| plugin_status(host, plugin)).collect(),
        store_failure: host.store_failure(),
    }
}

fn plugin_status(host: &Host, plugin: &PluginSettings) -> PluginStatus {
    let generations = generations::of(host, plugin);
    let live = generations
        .iter()
        .find(|generation| generation.state() == super::pb::GenerationState::Live);
    PluginStatus {
        name: plugin.name.to_string(),
        file: plugin.config.file.display().to_string(),
        live: live.cloned(),
        calls_in_flight: generations
            .iter()
            .map(|generation| generation.calls_in_flight)
            .sum(),
        refusal: plugin.metrics.refusal().map(|refusal| Refusal {
            reason: refusal.reason,
            refused_at: Some(refusal.at.into()),
        }),
    }
}
