//! Which topics a subscription is about.

use std::path::Path;

use serde_json::json;
use toml::Spanned;
use toml::de::DeValue;

use super::upstream::each_text;
use super::{Description, Refusal, Setting};
use crate::capability::events::TopicPattern;

/// Topics, or beginnings of them.
pub(in crate::config) struct Topics;

impl Setting for Topics {
    type Value = Vec<TopicPattern>;

    /// It must be set; whoever reads all of the configuration checks that.
    fn default(&self) -> Self::Value {
        Vec::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Self::Value, Vec<Refusal>> {
        let topics = each_text(value, "topic", |text| {
            TopicPattern::parse(text).ok_or_else(|| {
                Refusal::new(format!("{text:?} is no topic"))
                    .hint("letters, digits, '.', '-' and '_', and '*' at the end for all that begin so")
            })
        })?;
        match topics.is_empty() {
            true => Err(vec![Refusal::new("the list is empty")]),
            false => Ok(topics),
        }
    }

    fn describe(&self) -> Description {
        Description {
            kind: "array of strings".into(),
            default: "none, must be set".into(),
            allowed: "`TOPIC`, `BEGINNING*`".into(),
            schema: json!({
                "type": "array", "minItems": 1,
                "items": { "type": "string", "pattern": "^[A-Za-z0-9._-]+\\*?$|^\\*$", "maxLength": 257 },
            }),
        }
    }
}
