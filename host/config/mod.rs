//! The host's configuration: one TOML file, a few flags that win over it, and a default for the rest.
//!
//! [`Config::load`] refuses a bad configuration with every mistake at once, before anything listens. The
//! table in `keys.rs` is the single source of keys; `docs/configuration.md` and
//! `docs/mortise.schema.json` are generated from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::de::DeTable;

#[macro_use]
mod section;

mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod identity;
mod keys;
mod method;
mod name;
mod reader;
pub mod reference;
mod setting;
mod subscriptions;
mod value;

pub use error::{ConfigError, ConfigErrors, Location};
pub use keys::{
    Admin, Auth, Cache, Compiler, Engine, Events, Idempotency, Isolation, Issuer, Linking, Log, LogFormat,
    Method, Plugin, RateLimits, Server, Store, Subscription, Timers, Upstream,
};
pub use method::{InvalidMethodName, MethodName};
pub use name::{InvalidPluginName, PluginName};
pub use setting::check_log_filter;
pub use value::{ConfigValue, ValueKind};

use crate::policy::is_of_host;
use crate::server::{ClientAuth, Tls, TlsFile, TlsFiles};
use keys::SECTIONS;
use reader::{Reader, Source, join};

/// The whole configuration. Its default is every key's default and no plugin.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[store]`
    pub store: Store,
    /// `[idempotency]`
    pub idempotency: Idempotency,
    /// `[events]`
    pub events: Events,
    /// `[subscriptions.NAME]`
    pub subscriptions: BTreeMap<PluginName, Subscription>,
    /// `[timers]`
    pub timers: Timers,
    /// `[rate_limits]`
    pub rate_limits: RateLimits,
    /// `[log]`
    pub log: Log,
    /// `[admin]`
    pub admin: Admin,
    /// `[cache]`
    pub cache: Cache,
    /// `[engine]`
    pub engine: Engine,
    /// `[plugins.NAME]`
    pub plugins: BTreeMap<PluginName, Plugin>,
    /// `[upstreams.NAME]`
    pub upstreams: BTreeMap<PluginName, Upstream>,
    /// `[auth]`
    pub auth: Auth,
    /// `[issuers.NAME]`
    pub issuers: BTreeMap<PluginName, Issuer>,
    /// `[methods.NAME]`
    pub methods: BTreeMap<MethodName, Method>,
    /// Where each key stands that a file sets.
    locations: BTreeMap<String, Location>,
    /// The flag that each key comes from which a flag sets.
    flags: BTreeMap<String, String>,
}

/// What the command line sets. It wins over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--data`, relative to the working directory.
    pub data: Option<PathBuf>,
    /// `--plugin NAME=FILE`, relative to the working directory. The other keys of a plugin that the file
    /// names too are kept.
    pub plugins: Vec<(PluginName, PathBuf)>,
}

impl Config {
    /// Reads the file at `path`, if one is given, and applies `overrides`.
    ///
    /// # Errors
    ///
    /// Every mistake: in the TOML, in a key, in a value, between values that do not agree, and plugin files
    /// that are not there. What is inside a plugin file is not looked at.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigErrors> {
        let (config, errors) = Config::read(path, overrides);
        ConfigErrors::check(errors)?;
        Ok(config)
    }

    /// Like [`load`](Config::load), and also gives what is left of a configuration with mistakes, where each
    /// has its key's default, so that more can be looked for.
    pub fn read(path: Option<&Path>, overrides: &Overrides) -> (Config, Vec<ConfigError>) {
        let (mut config, mut errors, complete) = match path.map(Source::read) {
            None => (Config::default(), Vec::new(), true),
            Some(Err(error)) => (Config::default(), vec![error], false),
            Some(Ok(source)) => {
                let (document, mut reader) = Reader::parse(&source);
                let mut config = Config::read_document(&mut reader, document.get_ref());
                let complete = reader.is_complete();
                config.locations = reader.locations;
                (config, reader.errors, complete)
            }
        };
        config.apply(overrides, &mut errors);
        config.check_agreement(&mut errors);
        config.check_tls(&mut errors);
        config.check_plugins(complete, &mut errors);
        config.check_upstreams(complete, &mut errors);
        config.check_subscriptions(complete, &mut errors);
        config.check_identity(complete, &mut errors);
        (config, errors)
    }

    /// The file that delivered events are appended to, if they are.
    pub fn events_file(&self) -> Option<PathBuf> {
        let file = || {
            self.events
                .file
                .clone()
                .unwrap_or_else(|| self.server.data.join("events.jsonl"))
        };
        self.events.journal.then(file)
    }

    /// The folder of compiled plugins, if they are kept.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        let dir = || {
            self.cache
                .dir
                .clone()
                .unwrap_or_else(|| self.server.data.join("cache"))
        };
        self.cache.enabled.then(dir)
    }

    /// The names of `[methods.NAME]` that plugins are to serve.
    pub fn plugin_methods(&self) -> impl Iterator<Item = &MethodName> {
        self.methods.keys().filter(|name| !is_of_host(name))
    }

    /// The files for TLS, if the host is to speak it.
    pub fn tls_files(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.server.tls_certificate.clone()?,
            key: self.server.tls_key.clone()?,
            client_ca: self.server.tls_client_ca.clone(),
            client_auth: self.server.tls_client_auth,
        })
    }

    /// A mistake in `key` (`plugins.order.config.region`) that only its user could find, with the flag or the
    /// place in the file that sets it or, failing that, the section it belongs to.
    pub fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        if let Some(flag) = self.flags.get(key) {
            return ConfigError {
                location: None,
                key: flag.clone(),
                problem: problem.into(),
                hint: None,
            };
        }
        let mut place = key;
        let location = loop {
            match (self.locations.get(place), place.rsplit_once('.')) {
                (Some(location), _) => break Some(location.clone()),
                (None, Some((parent, _))) => place = parent,
                (None, None) => break None,
            }
        };
        ConfigError {
            location,
            key: key.to_owned(),
            problem: problem.into(),
            hint: None,
        }
    }

    fn read_document<'s>(reader: &mut Reader<'s>, root: &DeTable<'s>) -> Config {
        let known: Vec<_> = SECTIONS.iter().map(section::Section::top).collect();
        reader.refuse_unknown(root, "", &known);
        Config {
            server: Server::read(reader, root),
            store: Store::read(reader, root),
            idempotency: Idempotency::read(reader, root),
            events: Events::read(reader, root),
            subscriptions: read_named(reader, root, "subscriptions", Subscription::read),
            timers: Timers::read(reader, root),
            rate_limits: RateLimits::read(reader, root),
            log: Log::read(reader, root),
            admin: Admin::read(reader, root),
            cache: Cache::read(reader, root),
            engine: Engine::read(reader, root),
            plugins: read_named(reader, root, "plugins", Plugin::read),
            upstreams: read_named(reader, root, "upstreams", Upstream::read),
            auth: Auth::read(reader, root),
            issuers: read_named(reader, root, "issuers", Issuer::read),
            methods: read_named(reader, root, "methods", Method::read),
            locations: BTreeMap::new(),
            flags: BTreeMap::new(),
        }
    }

    fn apply(&mut self, overrides: &Overrides, errors: &mut Vec<ConfigError>) {
        if let Some(listen) = overrides.listen {
            self.server.listen = listen;
            self.flags.insert("server.listen".into(), "--listen".into());
        }
        if let Some(data) = &overrides.data {
            self.server.data = data.clone();
            self.flags.insert("server.data".into(), "--data".into());
        }
        let mut named = BTreeSet::new();
        for (name, file) in &overrides.plugins {
            if !named.insert(name) {
                errors.push(ConfigError {
                    location: None,
                    key: format!("--plugin {name}"),
                    problem: "the name is given twice".into(),
                    hint: Some("one file can serve under two names, but a name has one file".into()),
                });
            }
            match self.plugins.get_mut(name) {
                Some(plugin) => plugin.file = file.clone(),
                None => drop(self.plugins.insert(name.clone(), Plugin::new(file))),
            }
            self.flags
                .insert(format!("plugins.{name}.file"), format!("--plugin {name}"));
        }
    }

    /// Values that are right by themselves and wrong together.
    fn check_agreement(&self, errors: &mut Vec<ConfigError>) {
        self.check_server(errors);
        if self.store.max_key_bytes + self.store.max_value_bytes > self.store.max_transaction_bytes {
            let problem = "is too small for one entry of store.max_key_bytes and store.max_value_bytes";
            errors.push(self.error("store.max_transaction_bytes", problem));
        }
        if let Some(listen) = self.admin.listen
            && !listen.ip().is_loopback()
            && !self.admin.allow_remote
        {
            let mut error = self.error("admin.listen", "other machines can reach this address");
            error.hint = Some("use 127.0.0.1, or set admin.allow_remote = true if they are to".into());
            errors.push(error);
        }
        for (name, plugin) in &self.plugins {
            let max = self.server.max_concurrent_calls;
            if plugin.max_concurrent_calls.is_some_and(|calls| calls > max) {
                let problem = format!("is more than server.max_concurrent_calls, which is {max}");
                errors.push(self.error(&format!("plugins.{name}.max_concurrent_calls"), problem));
            }
            let targets = plugin
                .grants
                .iter()
                .filter_map(|grant| grant.strip_prefix("upstream:"));
            for target in targets.filter(|target| !self.upstreams.contains_key(*target)) {
                let mut error = self.error(
                    &format!("plugins.{name}.grants"),
                    format!("\"upstream:{target}\" is granted, and there is no such target"),
                );
                error.hint = Some(format!("add [upstreams.{target}] with its url"));
                errors.push(error);
            }
        }
        self.check_deadlines(errors);
    }

    /// A default that a maximum cuts, be it that of the service or the server, would never hold. A default
    /// that comes from there may be cut.
    fn check_deadlines(&self, errors: &mut Vec<ConfigError>) {
        for (name, own) in &self.methods {
            let maximum = Method::find(&self.methods, name.as_str())
                .max_deadline
                .or(self.server.max_deadline);
            if let (Some(default), Some(maximum)) = (own.default_deadline, maximum)
                && default > maximum
            {
                let problem = format!(
                    "default_deadline_ms is longer than the max_deadline_ms that holds here, {}",
                    maximum.as_millis()
                );
                errors.push(self.error(&format!("methods.{name}"), problem));
            }
        }
    }

    /// That targets can be called.
    fn check_upstreams(&self, complete: bool, errors: &mut Vec<ConfigError>) {
        for (name, upstream) in &self.upstreams {
            let key = |key: &str| format!("upstreams.{name}.{key}");
            // A wrong value was reported where it stands.
            if upstream.url.authority().is_none() {
                if complete && !self.locations.contains_key(&key("url")) {
                    errors.push(self.error(&key("url"), "must be set: where the target is"));
                }
                continue;
            }
            let Some(file) = &upstream.ca_file else { continue };
            if upstream.url.scheme_str() != Some("https") {
                errors.push(self.error(&key("ca_file"), "is of no use to a target without TLS (https)"));
            } else if let Err(error) = std::fs::File::open(file) {
                errors.push(self.error(
                    &key("ca_file"),
                    format!("cannot read {}: {error}", file.display()),
                ));
            }
        }
    }

    fn check_server(&self, errors: &mut Vec<ConfigError>) {
        let server = &self.server;
        if let (Some(default), Some(max)) = (server.default_deadline, server.max_deadline)
            && default > max
        {
            errors.push(self.error(
                "server.default_deadline_ms",
                "is longer than server.max_deadline_ms",
            ));
        }
        if server.max_request_memory_bytes / 4 < server.max_request_bytes {
            let problem = "is less than four times server.max_request_bytes";
            errors.push(self.error("server.max_request_memory_bytes", problem));
        }
        if !server.listen_tcp && server.unix_socket.is_none() {
            let problem = "is false and server.unix_socket is not set, so there is nothing to listen on";
            errors.push(self.error("server.listen_tcp", problem));
        }
    }

    /// That TLS is asked for in full, with files that can be used.
    fn check_tls(&self, errors: &mut Vec<ConfigError>) {
        let server = &self.server;
        if server.tls_client_auth == ClientAuth::Optional && server.tls_client_ca.is_none() {
            let problem = "is of no use without server.tls_client_ca, which asks clients for certificates";
            errors.push(self.error("server.tls_client_auth", problem));
        }
        let set = [
            ("server.tls_certificate", server.tls_certificate.is_some()),
            ("server.tls_key", server.tls_key.is_some()),
            ("server.tls_client_ca", server.tls_client_ca.is_some()),
        ];
        match self.tls_files().map(|files| Tls::load(&files)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let key = match error.file {
                    TlsFile::Certificate => "server.tls_certificate",
                    TlsFile::Key => "server.tls_key",
                    TlsFile::ClientCa => "server.tls_client_ca",
                };
                errors.push(self.error(key, error.to_string()));
            }
            None => {
                if let Some((key, _)) = set.into_iter().find(|(_, set)| *set) {
                    let problem = "TLS needs both server.tls_certificate and server.tls_key";
                    errors.push(self.error(key, problem));
                }
            }
        }
    }

    /// That there is something to serve, from files that are there. `complete` is false when parts of the
    /// configuration could not be read, so that nothing can be called missing.
    fn check_plugins(&self, complete: bool, errors: &mut Vec<ConfigError>) {
        if self.plugins.is_empty() && complete && errors.is_empty() {
            errors.push(ConfigError {
                location: None,
                key: String::new(),
                problem: "no plugin is configured, so there is nothing to serve".into(),
                hint: Some("add [plugins.NAME] with file = \"FILE.wasm\", or --plugin NAME=FILE.wasm".into()),
            });
        }
        for (name, plugin) in &self.plugins {
            let key = format!("plugins.{name}.file");
            if plugin.file.as_os_str().is_empty() {
                // A wrong value was reported where it stands.
                if complete && !self.locations.contains_key(&key) {
                    errors.push(self.error(&key, "must be set: the path of the plugin's .wasm file"));
                }
                continue;
            }
            let file = plugin.file.display();
            match std::fs::metadata(&plugin.file) {
                Ok(metadata) if metadata.is_file() => {}
                Ok(_) => errors.push(self.error(&key, format!("{file} is not a file"))),
                Err(error) => errors.push(self.error(&key, format!("cannot read {file}: {error}"))),
            }
        }
    }
}

/// Every `[section.NAME]`.
fn read_named<'s, N: FromStr<Err: Display> + Ord, S>(
    reader: &mut Reader<'s>,
    root: &DeTable<'s>,
    section: &str,
    read: fn(&mut Reader<'s>, &DeTable<'s>, &str) -> Option<S>,
) -> BTreeMap<N, S> {
    let mut named = BTreeMap::new();
    let Some(table) = reader.table(root, "", section) else {
        return named;
    };
    for key in table.keys() {
        // A bad name does not spare its section from being checked.
        let name = key.get_ref().parse::<N>();
        if let Err(error) = &name {
            let path = join(section, key.get_ref());
            reader.report(&key.span(), path, error.to_string(), None);
        }
        let settings = read(reader, table, key.get_ref());
        if let (Ok(name), Some(settings)) = (name, settings) {
            named.insert(name, settings);
        }
    }
    named
}

#[cfg(test)]
mod tests;
