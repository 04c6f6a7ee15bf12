//! What the operator allows each method: `[methods.NAME]`, before `[plugins.NAME]`, before `[server]`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::admission::Gate;
use crate::admission::rates::Rates;
use crate::auth::Access;
use crate::config::{self, Config, MethodName};
use crate::deadline::DeadlinePolicy;

/// What holds for calls of one method.
#[derive(Debug, Clone)]
pub struct MethodPolicy {
    /// Whom it is for.
    pub access: Access,
    /// How long a call may take.
    pub deadline: DeadlinePolicy,
    /// The smallest answer that is compressed.
    pub compress_min_bytes: usize,
    /// The largest answer, before it is compressed.
    pub max_response_bytes: usize,
    /// How many calls run at once, over all generations of the plugin.
    pub bound: Option<Arc<Gate>>,
    /// How often callers may call.
    pub rates: Rates,
}

/// The policies of a plugin's methods, whichever they will be.
#[derive(Debug)]
pub struct MethodPolicies {
    methods: BTreeMap<MethodName, config::Method>,
    elsewhere: MethodPolicy,
    /// By path. No more than a plugin's versions have had methods with a bound.
    bounds: Mutex<HashMap<String, Arc<Gate>>>,
}

impl MethodPolicies {
    /// Of what `config` says about the methods of `plugin`.
    pub fn new(config: &Config, plugin: &config::Plugin) -> Self {
        let server = &config.server;
        Self {
            methods: config.methods.clone(),
            elsewhere: MethodPolicy {
                access: Access::default(),
                deadline: DeadlinePolicy {
                    default: server.default_deadline,
                    maximum: server.max_deadline,
                },
                max_response_bytes: server.max_response_bytes,
                bound: None,
                rates: Rates::default(),
                compress_min_bytes: plugin.compress_min_bytes.unwrap_or(server.compress_min_bytes),
            },
            bounds: Mutex::default(),
        }
    }

    /// The policy of `/package.Service/Method`.
    pub fn of(&self, path: &str) -> MethodPolicy {
        let method = config::Method::find(&self.methods, path.strip_prefix('/').unwrap_or(path));
        let elsewhere = &self.elsewhere;
        MethodPolicy {
            access: access(&method, elsewhere.access.anonymous),
            deadline: deadline(&method, elsewhere.deadline),
            compress_min_bytes: method.compress_min_bytes.unwrap_or(elsewhere.compress_min_bytes),
            max_response_bytes: elsewhere.max_response_bytes,
            bound: method.max_concurrent_calls.map(|calls| self.bound(path, calls)),
            rates: Rates {
                all: method.rate,
                peer: method.rate_per_peer,
                principal: method.rate_per_principal,
            },
        }
    }

    fn bound(&self, path: &str, calls: usize) -> Arc<Gate> {
        let mut bounds = self.bounds.lock();
        bounds
            .entry(path.to_owned())
            .or_insert_with(|| Gate::new(calls))
            .clone()
    }
}

/// Whom `method` is for, where `anonymous` holds unless it says otherwise.
fn access(method: &config::Method, anonymous: bool) -> Access {
    Access {
        anonymous: method.anonymous.unwrap_or(anonymous),
        scopes: method.required_scopes.clone().unwrap_or_default(),
    }
}

fn deadline(method: &config::Method, elsewhere: DeadlinePolicy) -> DeadlinePolicy {
    DeadlinePolicy {
        default: method.default_deadline.or(elsewhere.default),
        maximum: method.max_deadline.or(elsewhere.maximum),
    }
}

/// The host's own service that says whether it serves.
pub const HEALTH: &str = "grpc.health.v1.Health";
/// The host's own service that describes those of plugins.
pub const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

/// Whether `name` is of the host's own services, which no plugin serves.
pub fn is_of_host(name: &MethodName) -> bool {
    [HEALTH, REFLECTION].contains(&name.service())
}

/// What holds for calls of one method of the host's own services.
#[derive(Debug, Clone)]
pub struct HostPolicy {
    /// Whom it is for.
    pub access: Access,
    /// How long a call may take.
    pub deadline: DeadlinePolicy,
    /// The smallest message of an answer that is compressed.
    pub compress_min_bytes: usize,
}

/// What holds for the host's own services.
#[derive(Debug, Clone)]
pub struct HostPolicies {
    methods: BTreeMap<MethodName, config::Method>,
    deadline: DeadlinePolicy,
    compress_min_bytes: usize,
}

impl HostPolicies {
    /// Of what `config` says about them.
    pub fn new(config: &Config) -> Self {
        let own = config.methods.iter().filter(|(name, _)| is_of_host(name));
        let server = &config.server;
        Self {
            methods: own.map(|(name, method)| (name.clone(), method.clone())).collect(),
            deadline: DeadlinePolicy {
                default: server.default_deadline,
                maximum: server.max_deadline,
            },
            compress_min_bytes: server.compress_min_bytes,
        }
    }

    /// What holds for the method at this path. Health is for everybody unless the operator says otherwise: those who
    /// probe have no tokens. What answers with a stream is meant to stay, so the deadlines of `[server]` are not for
    /// it. The older version of reflection is as the newer one.
    pub fn of(&self, path: &str, streams: bool) -> HostPolicy {
        let name = path.trim_start_matches('/').replace(".v1alpha.", ".v1.");
        let method = config::Method::find(&self.methods, &name);
        let elsewhere = if streams {
            DeadlinePolicy::default()
        } else {
            self.deadline
        };
        HostPolicy {
            access: access(&method, name.starts_with(HEALTH)),
            deadline: deadline(&method, elsewhere),
            compress_min_bytes: method.compress_min_bytes.unwrap_or(self.compress_min_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;
    use std::time::Duration;

    #[test]
    fn a_method_goes_before_its_service_and_that_before_plugin_and_server() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("mortise.toml");
        std::fs::write(folder.path().join("shop.wasm"), "").expect("it can be written");
        let text = "[server]\ndefault_deadline_ms = 1000\nmax_deadline_ms = 10000\ncompress_min_bytes = 1\n\
                    [plugins.shop]\nfile = \"shop.wasm\"\ncompress_min_bytes = 2\n\
                    [methods.\"shop.v1.Orders\"]\ndefault_deadline_ms = 2000\nmax_deadline_ms = 20000\n\
                    compress_min_bytes = 3\n\
                    [methods.\"shop.v1.Orders/Report\"]\nmax_deadline_ms = 60000\ncompress_min_bytes = 4\n";
        std::fs::write(&file, text).expect("it can be written");
        let config = Config::load(Some(&file), &Overrides::default()).expect("it is right");
        let policies = MethodPolicies::new(&config, &config.plugins["shop"]);
        for (path, default, maximum, compress_min_bytes) in [
            ("/shop.v1.Orders/Report", 2, 60, 4),
            ("/shop.v1.Orders/Place", 2, 20, 3),
            ("/shop.v1.Stock/Report", 1, 10, 2),
            ("/shop.v1.Orders2/Report", 1, 10, 2),
        ] {
            let policy = policies.of(path);
            let expected = DeadlinePolicy {
                default: Some(Duration::from_secs(default)),
                maximum: Some(Duration::from_secs(maximum)),
            };
            assert_eq!(policy.deadline, expected, "{path}");
            assert_eq!(policy.compress_min_bytes, compress_min_bytes, "{path}");
        }
    }
}
