//! What must hold between subscriptions and plugins.

use super::{Config, ConfigError, MethodName, Subscription};

impl Config {
    /// That every subscription has a plugin and a method. Whether the plugin has the method is known when it
    /// is loaded, and may change with each version.
    pub(super) fn check_subscriptions(&self, complete: bool, errors: &mut Vec<ConfigError>) {
        for (name, subscription) in &self.subscriptions {
            let key = |key: &str| format!("subscriptions.{name}.{key}");
            let Subscription {
                topics,
                plugin,
                method,
                ..
            } = subscription;
            for (field, is_empty, what) in [
                ("topics", topics.is_empty(), "which events it is about"),
                ("plugin", plugin.is_empty(), "whom they go to"),
                ("method", method.is_empty(), "the method that they go to"),
            ] {
                // A wrong value was reported where it stands.
                if is_empty && complete && !self.locations.contains_key(&key(field)) {
                    errors.push(self.error(&key(field), format!("must be set: {what}")));
                }
            }
            if !plugin.is_empty() && !self.plugins.contains_key(plugin.as_str()) {
                let mut error = self.error(&key("plugin"), format!("there is no plugin {plugin:?}"));
                error.hint = Some(format!("add [plugins.{plugin}] with its file"));
                errors.push(error);
            }
            let is_method = |text: &str| {
                let name = text.parse::<MethodName>();
                name.is_ok_and(|name| name.method().is_some())
            };
            if !method.is_empty() && !is_method(method) {
                let mut error = self.error(&key("method"), format!("{method:?} is not the name of a method"));
                error.hint = Some("write \"package.Service/Method\"".into());
                errors.push(error);
            }
        }
    }
}
