//! What only plugins have: grants, and values of their own.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use toml::Spanned;
use toml::de::DeValue;

use crate::config::name::{NAME_RULE, PluginName};
use crate::config::value::ConfigValue;

use super::upstream::each_text;
use super::{Description, Refusal, Setting, secret};

/// What the operator allows a plugin beyond the confined capabilities.
pub(in crate::config) struct Grants;

impl Setting for Grants {
    type Value = Vec<String>;

    fn default(&self) -> Vec<String> {
        Vec::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Vec<String>, Vec<Refusal>> {
        each_text(value, "grant", |text| {
            let name = text.strip_prefix("upstream:").ok_or_else(|| {
                Refusal::new(format!("there is no grant {text:?}"))
                    .hint("write \"upstream:NAME\" to let the plugin call the target [upstreams.NAME]")
            })?;
            let name = name.parse::<PluginName>();
            name.map(|_| text.to_owned())
                .map_err(|_| Refusal::new(format!("{text:?} names no target: {NAME_RULE}")))
        })
    }

    fn describe(&self) -> Description {
        Description {
            kind: "array of strings".into(),
            default: "[]".into(),
            allowed: "`upstream:NAME`".into(),
            schema: json!({
                "type": "array", "items": { "type": "string", "pattern": "^upstream:[a-z][a-z0-9-]{0,62}$" },
                "default": [],
            }),
        }
    }
}

/// A table whose keys the plugin declares.
pub(in crate::config) struct FreeTable;

impl Setting for FreeTable {
    type Value = BTreeMap<String, ConfigValue>;

    fn default(&self) -> Self::Value {
        BTreeMap::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, folder: &Path) -> Result<Self::Value, Vec<Refusal>> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(vec![Refusal::wrong_type("a table", value.get_ref())]);
        };
        let mut values = BTreeMap::new();
        let mut refusals = Vec::new();
        for (key, value) in table {
            let parsed = match secret::read(value.get_ref(), folder) {
                Some(text) => text.map(ConfigValue::text),
                None => ConfigValue::parse(value).map_err(Refusal::new),
            };
            match parsed {
                Ok(parsed) => drop(values.insert(key.get_ref().to_string(), parsed)),
                Err(refusal) => refusals.push(Refusal {
                    span: refusal.span.or(Some(value.span())),
                    inner_key: Some(key.get_ref().to_string()),
                    ..refusal
                }),
            }
        }
        if refusals.is_empty() {
            Ok(values)
        } else {
            Err(refusals)
        }
    }

    fn describe(&self) -> Description {
        Description {
            kind: "table".into(),
            default: "{}".into(),
            allowed: "the keys that the plugin declares; `mortise inspect` lists them. A value can also be \
                      `{ file = \"PATH\" }` or `{ env = \"NAME\" }`"
                .into(),
            schema: json!({ "type": "object" }),
        }
    }
}
