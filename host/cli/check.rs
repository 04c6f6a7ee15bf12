//! `mortise check`: every mistake in a configuration, without serving it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{ConfigArgs, print};
use crate::config::{Config, ConfigError, ConfigErrors, Isolation, MethodName};
use crate::generations::{GateError, LoadError, Loader, PluginSettings};
use crate::plugin::artifact::Artifact;

/// Reports every mistake in the configuration, and serves nothing.
///
/// Plugins are loaded as `mortise serve` would load them, so theirs are among the mistakes, and values that a
/// plugin does not understand.
///
/// Without `--config` and `--plugin` it checks `mortise.toml` in the current folder. A configuration that is
/// right is summed up, with exit code 0; one that is wrong gives exit code 3.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise check
  mortise check --config /etc/mortise/mortise.toml
  mortise check --plugin order=order.wasm")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(mut args: CheckArgs) -> anyhow::Result<()> {
    if args.config.config.is_none() && args.config.plugins.is_empty() {
        args.config.config = Some("mortise.toml".into());
    }
    let (config, mut errors) = Config::read(args.config.config.as_deref(), &args.config.overrides());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut unserved: Vec<_> = config.plugin_methods().collect();
    let services = runtime.block_on(load_plugins(&config, &mut unserved, &mut errors))?;
    ConfigErrors::check(errors)?;
    print(&summary(&config, &services, &unserved))
}

/// Loads each plugin whose file is there. Returns the services of each that could be served, and takes what
/// they serve from `unserved`.
async fn load_plugins(
    config: &Config,
    unserved: &mut Vec<&MethodName>,
    errors: &mut Vec<ConfigError>,
) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if config.plugins.is_empty() {
        return Ok(services);
    }
    let loader = Loader::for_inspection(config)?;
    for plugin in PluginSettings::all(config)? {
        let (name, file) = (plugin.name.to_string(), &plugin.config.file);
        if !file.is_file() {
            continue;
        }
        let loaded = match Artifact::read(file, plugin.config.max_component_bytes) {
            Ok(artifact) => loader.load(artifact, &plugin).await,
            Err(error) => Err(error.into()),
        };
        match loaded {
            Ok(generation) => {
                let offered: Vec<_> = generation
                    .description
                    .services()
                    .into_iter()
                    .map(str::to_owned)
                    .collect();
                unserved.retain(|name| !generation.description.serves(name));
                errors.extend(claimed_twice(config, &name, &offered, &services));
                services.insert(name, offered);
            }
            Err(error) => errors.extend(mistakes(config, &name, &error)),
        }
    }
    Ok(services)
}

/// Where the configuration is wrong when a plugin does not load as it is.
pub(super) fn mistakes(config: &Config, name: &str, error: &LoadError) -> Vec<ConfigError> {
    match error {
        LoadError::Gate {
            error: GateError::Config(values),
            ..
        } => values
            .iter()
            .map(|(key, problem)| config.error(&format!("plugins.{name}.config.{key}"), problem))
            .collect(),
        LoadError::Gate {
            error: error @ (GateError::Grant { .. } | GateError::Upstream),
            ..
        } => {
            vec![config.error(&format!("plugins.{name}.grants"), error.to_string())]
        }
        _ => vec![config.error(&format!("plugins.{name}.file"), error.to_string())],
    }
}

/// The services of a plugin that one before it serves already.
fn claimed_twice(
    config: &Config,
    name: &str,
    offered: &[String],
    services: &BTreeMap<String, Vec<String>>,
) -> Vec<ConfigError> {
    let owner = |service| {
        services
            .iter()
            .find(|(_, theirs)| theirs.contains(service))
            .map(|(owner, _)| owner)
    };
    offered
        .iter()
        .filter_map(|service| Some((service, owner(service)?)))
        .map(|(service, owner)| {
            let problem = format!("the service {service} is served by the plugin {owner} already");
            config.error(&format!("plugins.{name}.file"), problem)
        })
        .collect()
}

/// What would be served. Values for plugins are not shown: they may be secret.
fn summary(config: &Config, services: &BTreeMap<String, Vec<String>>, unserved: &[&MethodName]) -> String {
    let mut page = String::from("The configuration is valid.\n");
    let server = &config.server;
    if server.listen_tcp {
        let _ = writeln!(page, "listen   {}", server.listen);
    }
    if let Some(path) = &server.unix_socket {
        let _ = writeln!(page, "listen   unix:{}", path.display());
    }
    let _ = writeln!(page, "data     {}", config.server.data.display());
    for (name, plugin) in &config.plugins {
        let isolation = match plugin.isolation {
            Isolation::Call => "a sandbox per call".to_owned(),
            Isolation::Reuse => format!("a sandbox per {} calls", plugin.max_reuse_calls),
        };
        let _ = writeln!(page, "plugin   {name}: {}, {isolation}", plugin.file.display());
        for service in services.get(name.as_str()).into_iter().flatten() {
            let _ = writeln!(page, "           {service}");
        }
    }
    for (name, upstream) in &config.upstreams {
        let _ = writeln!(page, "upstream {name}: {}", upstream.url);
    }
    for (name, issuer) in &config.issuers {
        let _ = writeln!(page, "issuer   {name}: {}", issuer.issuer);
    }
    for name in unserved {
        let _ = writeln!(page, "warning  methods.\"{name}\": no plugin serves it");
    }
    page
}
