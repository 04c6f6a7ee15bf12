//! What a plugin may be: its imports, its grants and its configuration against what the operator allows.

use std::collections::BTreeMap;

use crate::config::ConfigValue;
use crate::plugin::artifact::Artifact;
use crate::plugin::bindings::v0_1::UPSTREAM;
use crate::plugin::description::Description;

/// Interfaces any plugin may import. The contract's are confined to the plugin's own state; WASI's grant
/// nothing here. Anything else reaches outside and has no link.
const ALLOWED_IMPORTS: &[&str] = &[
    "mortise:plugin/types",
    "mortise:plugin/call",
    "mortise:plugin/store",
    "mortise:plugin/events",
    "mortise:plugin/timers",
    "mortise:plugin/limits",
    "mortise:plugin/log",
    "mortise:plugin/config",
    // With a grant only: see `check_upstream`.
    UPSTREAM,
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// Why a plugin may not be served as it is.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// An import that has no link.
    #[error("it imports {0}, which this host does not offer to plugins")]
    Import(String),
    /// It can call other services, and no target is granted.
    #[error(
        "it imports {UPSTREAM}, to call other services, and no target is granted: add grants = \
         [\"upstream:NAME\"] to the plugin's section, and [upstreams.NAME] with the target's url; `mortise \
         inspect` shows which targets it asks for"
    )]
    Upstream,
    /// It asks for something the operator did not grant.
    #[error(
        "it asks for {capability} {target:?} ({reason}), which is not granted: add {grant:?} to grants of the \
         plugin, or serve a version that does without"
    )]
    Grant {
        /// What it asks for.
        capability: String,
        /// Which one.
        target: String,
        /// Its own reason.
        reason: String,
        /// What the operator would write.
        grant: String,
    },
    /// Configuration keys or values it does not understand; all of them.
    #[error("{}", .0.iter().map(|(key, problem)| format!("config.{key} {problem}")).collect::<Vec<_>>().join("; "))]
    Config(Vec<(String, String)>),
}

/// Checks imports, without compiling or running anything of the plugin's.
pub(super) fn check_imports(artifact: &Artifact) -> Result<(), GateError> {
    let allowed = |import: &str| {
        let name = import.split('@').next().unwrap_or(import);
        ALLOWED_IMPORTS.iter().any(|allowed| {
            if allowed.ends_with('/') {
                name.starts_with(allowed)
            } else {
                name == *allowed
            }
        })
    };
    match artifact.imports.iter().find(|import| !allowed(import)) {
        Some(import) => Err(GateError::Import(crate::observe::printable(import, 128))),
        None => Ok(()),
    }
}

/// Checks that a component that can call other services has a target granted, by its imports alone: what it
/// says of itself comes later.
pub(super) fn check_upstream(artifact: &Artifact, granted: &[String]) -> Result<(), GateError> {
    let imports = artifact
        .imports
        .iter()
        .any(|import| import.split('@').next() == Some(UPSTREAM));
    if imports && upstream_targets(granted).next().is_none() {
        return Err(GateError::Upstream);
    }
    Ok(())
}

/// The targets among some grants.
pub(super) fn upstream_targets(granted: &[String]) -> impl Iterator<Item = &str> {
    granted.iter().filter_map(|grant| grant.strip_prefix("upstream:"))
}

/// Checks that the operator granted all that the plugin asks for.
pub(super) fn check_grants(description: &Description, granted: &[String]) -> Result<(), GateError> {
    for asked in &description.grants {
        let grant = format!("{}:{}", asked.capability, asked.target);
        if !granted.contains(&grant) {
            return Err(GateError::Grant {
                capability: asked.capability.clone(),
                target: asked.target.clone(),
                reason: asked.reason.clone(),
                grant,
            });
        }
    }
    Ok(())
}

/// Checks the operator's values against the keys that the plugin declares, and reports every mistake.
pub(super) fn check_config(
    description: &Description,
    values: &BTreeMap<String, ConfigValue>,
) -> Result<(), GateError> {
    let mut mistakes = Vec::new();
    for (key, value) in values {
        let problem = match description.config.iter().find(|known| known.name == *key) {
            None => unknown_key(description, key),
            Some(known) if !known.kind.accepts(value.as_str()) => {
                format!("must be {}: {}", known.kind.as_str(), known.doc)
            }
            Some(_) => continue,
        };
        mistakes.push((key.clone(), problem));
    }
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(GateError::Config(mistakes))
    }
}

fn unknown_key(description: &Description, key: &str) -> String {
    let known = description.config.iter().map(|known| known.name.as_str());
    let nearest = known
        .clone()
        .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
    match nearest {
        Some(nearest) if strsim::jaro_winkler(nearest, key) > 0.8 => {
            format!("is not a key of this plugin: did you mean {nearest}?")
        }
        Some(_) => format!(
            "is not a key of this plugin: it knows {}",
            known.collect::<Vec<_>>().join(", ")
        ),
        None => "is not a key of this plugin: it has none".to_owned(),
    }
}
