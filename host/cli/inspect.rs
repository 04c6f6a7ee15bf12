//! `mortise inspect`: what a component is and asks for, without serving it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{print, printable};
use crate::config::{Config, Plugin};
use crate::generations::{Inspected, Loader, PluginSettings};
use crate::plugin::artifact::Artifact;
use crate::plugin::description;

/// Prints what a plugin's component is.
///
/// Name, version, contract version, services and methods, imports, requested grants, configuration keys,
/// size and digest. The component is checked as `mortise serve` would check it, and not served.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise inspect order.wasm
  mortise inspect order.wasm --json | jq -r .digest")]
pub(super) struct InspectArgs {
    /// The component.
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,

    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// What a component says of itself, and what its bytes say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The plugin's own name. The operator's name for it may be another.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// The version of the plugin contract that it is built for.
    pub contract: String,
    /// What it serves.
    pub services: Vec<Service>,
    /// The interfaces that it imports, such as `mortise:plugin/store@0.1.0`.
    pub imports: Vec<String>,
    /// What it asks for outside its sandbox.
    pub grants: Vec<Grant>,
    /// What `[plugins.NAME.config]` may set.
    pub config: Vec<ConfigKey>,
    /// How its program is linked to the host: `direct`, or `component` and why.
    pub linking: String,
    /// What gives each call a fresh sandbox: they are `renewed` after a call, or `made` for each.
    pub sandboxes: String,
    /// The size of the file in bytes.
    pub size_bytes: u64,
    /// `sha256:` and the digest of the file in hexadecimal.
    pub digest: String,
}

/// A gRPC service of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// The full name, `order.v1.OrderService`.
    pub name: String,
    /// The plain names of its methods.
    pub methods: Vec<String>,
    /// The plain names of methods that only timers and events call.
    pub internal_methods: Vec<String>,
}

/// A request for something outside the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// `upstream`, `secret` or `plugin`.
    pub capability: String,
    /// Which one.
    pub target: String,
    /// The plugin's reason.
    pub reason: String,
}

/// A configuration key that a plugin declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigKey {
    /// The key.
    pub name: String,
    /// `text`, `integer`, `number` or `boolean`.
    pub kind: String,
    /// What it is for.
    pub doc: String,
    /// What the plugin assumes without it.
    pub default: Option<String>,
}

impl From<&description::Grant> for Grant {
    fn from(grant: &description::Grant) -> Self {
        Self {
            capability: grant.capability.clone(),
            target: grant.target.clone(),
            reason: grant.reason.clone(),
        }
    }
}

impl From<&description::ConfigKey> for ConfigKey {
    fn from(key: &description::ConfigKey) -> Self {
        Self {
            name: key.name.clone(),
            kind: key.kind.name().to_owned(),
            doc: key.doc.clone(),
            default: key.default.clone(),
        }
    }
}

pub(super) fn run(args: InspectArgs) -> anyhow::Result<()> {
    let inspection = analyse(&args.file)?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&inspection)?))
    } else {
        print(&inspection.to_text())
    }
}

/// Runs the component's `describe` in a sandbox, as `mortise serve` would.
fn analyse(file: &Path) -> anyhow::Result<Inspection> {
    let mut config = Config::default();
    config.plugins.insert("inspected".parse()?, Plugin::new(file));
    let plugin = PluginSettings::all(&config)?.remove(0);
    let artifact = Artifact::read(file, plugin.config.max_component_bytes)?;
    let loader = Loader::for_inspection(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let inspected = runtime.block_on(loader.inspect(artifact.clone(), &plugin))?;
    Ok(Inspection::new(&artifact, &inspected))
}

impl Inspection {
    fn new(artifact: &Artifact, inspected: &Inspected) -> Self {
        let description = &inspected.description;
        let mut names: Vec<&str> = Vec::new();
        for method in &description.methods {
            if !names.contains(&method.service.as_str()) {
                names.push(&method.service);
            }
        }
        let methods = |service: &str, internal: bool| {
            let methods = description.methods.iter();
            methods
                .filter(|method| method.service == service && method.internal == internal)
                .filter_map(|method| Some(method.path.rsplit_once('/')?.1.to_owned()))
                .collect()
        };
        let services = names.into_iter().map(|service| Service {
            name: service.to_owned(),
            methods: methods(service, false),
            internal_methods: methods(service, true),
        });
        Self {
            name: description.name.clone(),
            version: description.version.clone(),
            contract: artifact.contract.clone(),
            services: services.collect(),
            imports: artifact.imports.clone(),
            grants: description.grants.iter().map(Grant::from).collect(),
            config: description.config.iter().map(ConfigKey::from).collect(),
            linking: match &inspected.unfit {
                None => "direct".to_owned(),
                Some(unfit) => format!("component, because {unfit}"),
            },
            sandboxes: if inspected.renews { "renewed" } else { "made" }.to_owned(),
            size_bytes: artifact.bytes.len() as u64,
            digest: artifact.digest.to_string(),
        }
    }

    /// For reading: one aligned column of labels. Text from the plugin is made printable.
    fn to_text(&self) -> String {
        let mut page = String::new();
        let mut line = |label: &str, text: &str| {
            let _ = writeln!(page, "{}", format!("{label:<9} {}", printable(text)).trim_end());
        };
        line("name", &self.name);
        line("version", &self.version);
        line("contract", &self.contract);
        line("linking", &self.linking);
        line("sandboxes", &self.sandboxes);
        line("size", &format!("{} bytes", self.size_bytes));
        line("digest", &self.digest);
        for (service, label) in self.services.iter().zip(labels("services")) {
            line(label, &service.name);
            for method in &service.methods {
                line("", &format!("  {method}"));
            }
            for method in &service.internal_methods {
                line("", &format!("  {method} (internal)"));
            }
        }
        for (import, label) in self.imports.iter().zip(labels("imports")) {
            line(label, import);
        }
        if self.grants.is_empty() {
            line("grants", "none");
        }
        for (grant, label) in self.grants.iter().zip(labels("grants")) {
            line(
                label,
                &format!("{} {}: {}", grant.capability, grant.target, grant.reason),
            );
        }
        if self.config.is_empty() {
            line("config", "none");
        }
        for (key, label) in self.config.iter().zip(labels("config")) {
            let default = key.default.as_deref().map(|value| format!(", default {value}"));
            line(
                label,
                &format!("{} ({}{})", key.name, key.kind, default.unwrap_or_default()),
            );
            line("", &format!("  {}", key.doc));
        }
        page
    }
}

/// A label for the first of several lines, and none for the rest.
fn labels(first: &'static str) -> impl Iterator<Item = &'static str> {
    std::iter::once(first).chain(std::iter::repeat(""))
}
