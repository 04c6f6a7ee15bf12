//! What must hold between the settings about callers.

use super::{Config, ConfigError, Method, PluginName};
use crate::auth::{Authenticator, KeyFile};

/// Identities that are no issuer's begin with these.
const RESERVED: [&str; 5] = ["mortise", "spiffe", "dns", "cn", "sha256"];

impl Config {
    /// That issuers can be told apart and their keys used, and that nothing is asked of callers that none could
    /// have. `complete` is false when parts of the configuration could not be read, so that nothing can be called
    /// missing.
    pub(super) fn check_identity(&self, complete: bool, errors: &mut Vec<ConfigError>) {
        let before = errors.len();
        for (name, issuer) in &self.issuers {
            let key = |key: &str| format!("issuers.{name}.{key}");
            if RESERVED.contains(&name.as_str()) {
                let problem = format!("{name} stands for identities that the host makes itself");
                errors.push(self.error(&format!("issuers.{name}"), problem));
            }
            // A wrong value was reported where it stands.
            let absent = |field: &str| complete && !self.locations.contains_key(&key(field));
            if issuer.issuer.is_empty() && absent("issuer") {
                errors.push(self.error(&key("issuer"), "must be set: what tokens have as `iss`"));
            }
            if issuer.audiences.is_empty() && absent("audiences") {
                errors.push(self.error(
                    &key("audiences"),
                    "must be set: what this host is called in tokens",
                ));
            }
            if issuer.keys.is_empty()
                && issuer.secret_file.is_none()
                && complete
                && !self.sets_keys(name.as_str())
            {
                let mut error = self.error(&format!("issuers.{name}"), "has no key to verify tokens with");
                error.hint = Some("set keys = [\"FILE\"] to its public keys".into());
                errors.push(error);
            }
            let same = |other: &&PluginName| {
                !issuer.issuer.is_empty() && self.issuers[*other].issuer == issuer.issuer
            };
            if let Some(other) = self.issuers.keys().take_while(|other| *other != name).find(same) {
                let problem = format!("is that of [issuers.{other}] already: put all of its keys there");
                errors.push(self.error(&key("issuer"), problem));
            }
        }
        if errors.len() == before
            && let Err(refused) = Authenticator::load(&self.auth, &self.issuers)
        {
            errors.extend(refused.into_iter().map(|refused| {
                let key = match refused.error.file {
                    KeyFile::Public => "keys",
                    KeyFile::Secret => "secret_file",
                };
                self.error(
                    &format!("issuers.{}.{key}", refused.issuer),
                    refused.error.to_string(),
                )
            }));
        }
        if self.auth.certificate_suffices && self.server.tls_client_ca.is_none() {
            let problem = "is of no use without server.tls_client_ca, which asks clients for certificates";
            errors.push(self.error("auth.certificate_suffices", problem));
        }
        self.check_access(errors);
    }

    /// A scope that nobody checks would leave open what its author believes closed.
    fn check_access(&self, errors: &mut Vec<ConfigError>) {
        for (name, method) in &self.methods {
            let key = format!("methods.{name}.required_scopes");
            let asks =
                |scopes: &Option<Vec<String>>| scopes.as_ref().is_some_and(|scopes| !scopes.is_empty());
            if asks(&method.required_scopes) && self.issuers.is_empty() {
                let mut error = self.error(&key, "there is no issuer whose tokens could have scopes");
                error.hint = Some("add [issuers.NAME] with its keys".into());
                errors.push(error);
            }
            let in_effect = Method::find(&self.methods, name.as_str());
            if asks(&in_effect.required_scopes) && in_effect.anonymous == Some(true) {
                let mut error = self.error(&key, "callers without a token have no scopes");
                error.hint = Some(
                    "set required_scopes = [], or anonymous = false, where the service's does not fit".into(),
                );
                errors.push(error);
            }
        }
    }

    fn sets_keys(&self, issuer: &str) -> bool {
        ["keys", "secret_file"]
            .iter()
            .any(|key| self.locations.contains_key(&format!("issuers.{issuer}.{key}")))
    }
}
