//! The flags that say what to serve, shared by `serve` and `check`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::{Config, ConfigErrors, Overrides, PluginName};

/// Where the configuration comes from.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file, in TOML.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Serves the component FILE under NAME. Can be given several times. Wins over the plugin's `file` in
    /// the configuration file.
    #[arg(long = "plugin", value_name = "NAME=FILE.wasm")]
    pub plugins: Vec<PluginFile>,

    /// The address to listen on, such as 127.0.0.1:50051. Wins over `server.listen`.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// The folder for everything the host keeps. Wins over `server.data`.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl ConfigArgs {
    /// Reads the configuration file, if one is named, and lets the flags win over it.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(self.config.as_deref(), &self.overrides())
    }

    /// What the flags set.
    pub fn overrides(&self) -> Overrides {
        let plugins = self
            .plugins
            .iter()
            .map(|plugin| (plugin.name.clone(), plugin.file.clone()))
            .collect();
        Overrides {
            listen: self.listen,
            data: self.data.clone(),
            plugins,
        }
    }
}

/// `NAME=FILE`, the value of `--plugin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFile {
    /// The operator's name for the plugin.
    pub name: PluginName,
    /// Its component.
    pub file: PathBuf,
}

impl FromStr for PluginFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = text.split_once('=').ok_or("expected NAME=FILE.wasm")?;
        if file.is_empty() {
            return Err("expected a file after =".into());
        }
        let name = name.parse().map_err(|error| format!("{error}"))?;
        Ok(PluginFile {
            name,
            file: file.into(),
        })
    }
}
