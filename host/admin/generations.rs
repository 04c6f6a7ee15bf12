//! Generations: which there are, and loading a new one.

use tonic::Status;

use super::pb::{Generation, GenerationState, ListGenerationsResponse, ReloadPluginResponse};
use super::status::Host;
use crate::generations::PluginSettings;
use crate::observe::metrics::State;

pub(super) fn list(host: &Host, plugin: &str) -> Result<ListGenerationsResponse, Status> {
    let chosen = match plugin {
        "" => host.parts.registry.plugins(),
        name => std::slice::from_ref(find(host, name)?),
    };
    Ok(ListGenerationsResponse {
        generations: chosen.iter().flat_map(|plugin| of(host, plugin)).collect(),
    })
}

pub(super) async fn reload(host: &Host, plugin: &str) -> Result<ReloadPluginResponse, Status> {
    let plugin = find(host, plugin)?;
    let before = live_number(host, plugin);
    let live = host.parts.registry.load(plugin).await.map_err(|error| {
        tracing::error!(plugin = %plugin.name, "not loaded, nothing changed: {error}");
        Status::failed_precondition(crate::observe::printable(&error.to_string(), MAX_REASON_BYTES))
    })?;
    let number = live.number;
    let known = of(host, plugin);
    Ok(ReloadPluginResponse {
        live: known.into_iter().find(|generation| generation.number == number),
        changed: before != Some(number),
    })
}

/// Of why a file is refused; a status travels in headers.
const MAX_REASON_BYTES: usize = 1024;

/// The generations of one plugin that are shown, oldest first.
pub(super) fn of(host: &Host, plugin: &PluginSettings) -> Vec<Generation> {
    let live = live_number(host, plugin);
    let known = plugin.metrics.generations().into_iter();
    known
        .map(|metrics| {
            let identity = metrics.identity();
            let state = match metrics.state() {
                State::Unloaded => GenerationState::Unloaded,
                State::Loaded if live == Some(identity.number) => GenerationState::Live,
                State::Loaded => GenerationState::Draining,
            };
            Generation {
                number: identity.number,
                plugin: plugin.name.to_string(),
                version: identity.version,
                digest: identity.digest,
                state: state.into(),
                live_since: Some(identity.since.into()),
                unloaded_at: metrics.unloaded_at().map(Into::into),
                calls_in_flight: metrics.in_flight(),
                calls_ended: metrics.calls().iter().sum(),
            }
        })
        .collect()
}

fn live_number(host: &Host, plugin: &PluginSettings) -> Option<u64> {
    let live = host.parts.registry.live_generations();
    let live = live.iter().find(|live| live.name == plugin.name)?;
    Some(live.number)
}

fn find<'h>(host: &'h Host, name: &str) -> Result<&'h PluginSettings, Status> {
    let plugins = host.parts.registry.plugins();
    let found = plugins.iter().find(|plugin| plugin.name.as_str() == name);
    found.ok_or_else(|| {
        let names: Vec<_> = plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        Status::not_found(format!(
            "there is no plugin {:?}; there are: {}",
            crate::observe::printable(name, 64),
            names.join(", ")
        ))
    })
}
