//! Values out of a fixed set.

use std::path::Path;

use serde_json::json;
use toml::Spanned;
use toml::de::DeValue;

use super::{Description, Refusal, Setting, closest};

/// `true` or `false`.
pub(in crate::config) struct Toggle(bool);

pub(in crate::config) const fn toggle(default: bool) -> Toggle {
    Toggle(default)
}

impl Setting for Toggle {
    type Value = bool;

    fn default(&self) -> bool {
        self.0
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<bool, Vec<Refusal>> {
        match value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            other => Err(vec![Refusal::wrong_type("true or false", other)]),
        }
    }

    fn describe(&self) -> Description {
        Description {
            kind: "boolean".into(),
            default: self.0.to_string(),
            allowed: String::new(),
            schema: json!({ "type": "boolean", "default": self.0 }),
        }
    }
}

/// A type with a fixed set of values, each with its name in the file.
pub(in crate::config) trait Choices: Copy + PartialEq + 'static {
    const CHOICES: &'static [(&'static str, Self)];
}

/// One of the names of `T`.
pub(in crate::config) struct Choice<T>(T);

pub(in crate::config) const fn choice<T: Choices>(default: T) -> Choice<T> {
    Choice(default)
}

impl<T: Choices> Setting for Choice<T> {
    type Value = T;

    fn default(&self) -> T {
        self.0
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<T, Vec<Refusal>> {
        let names = || T::CHOICES.iter().map(|(name, _)| *name);
        let allowed = names()
            .map(|name| format!("\"{name}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let DeValue::String(text) = value.get_ref() else {
            return Err(vec![Refusal::wrong_type(
                &format!("one of {allowed}"),
                value.get_ref(),
            )]);
        };
        T::CHOICES
            .iter()
            .find(|(name, _)| name == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| {
                let refusal = Refusal::new(format!("{text:?} is none of {allowed}"));
                vec![match closest(text, names()) {
                    Some(name) => refusal.hint(format!("did you mean \"{name}\"?")),
                    None => refusal,
                }]
            })
    }

    fn describe(&self) -> Description {
        let names: Vec<_> = T::CHOICES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let default = T::CHOICES
            .iter()
            .find(|(_, value)| *value == self.0)
            .map(|(name, _)| *name);
        Description {
            kind: "string".into(),
            default: default.map(|name| format!("\"{name}\"")).unwrap_or_default(),
            allowed: names.join(", "),
            schema: json!({
                "enum": T::CHOICES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "default": default,
            }),
        }
    }
}
