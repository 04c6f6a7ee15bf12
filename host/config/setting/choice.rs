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

fn names<T: Choices>() -> impl Iterator<Item = &'static str> {
    T::CHOICES.iter().map(|(name, _)| *name)
}

fn quoted<T: Choices>() -> String {
    let names: Vec<_> = names::<T>().map(|name| format!("\"{name}\"")).collect();
    names.join(", ")
}

/// What `value` names, for a setting or a part of one.
fn named<T: Choices>(value: &DeValue<'_>) -> Result<T, Refusal> {
    let allowed = quoted::<T>();
    let DeValue::String(text) = value else {
        return Err(Refusal::wrong_type(&format!("one of {allowed}"), value));
    };
    let found = T::CHOICES.iter().find(|(name, _)| name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let refusal = Refusal::new(format!("{text:?} is none of {allowed}"));
        match closest(text, names::<T>()) {
            Some(name) => refusal.hint(format!("did you mean \"{name}\"?")),
            None => refusal,
        }
    })
}

fn name_of<T: Choices>(wanted: T) -> &'static str {
    let found = T::CHOICES.iter().find(|(_, value)| *value == wanted);
    found.map(|(name, _)| *name).unwrap_or_default()
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
        named(value.get_ref()).map_err(|refusal| vec![refusal])
    }

    fn describe(&self) -> Description {
        let default = name_of(self.0);
        Description {
            kind: "string".into(),
            default: format!("\"{default}\""),
            allowed: quoted::<T>(),
            schema: json!({ "enum": names::<T>().collect::<Vec<_>>(), "default": default }),
        }
    }
}

/// Some of the names of `T`, in an order that matters.
pub(in crate::config) struct ChoiceList<T: 'static>(&'static [T]);

pub(in crate::config) const fn choices<T: Choices>(default: &'static [T]) -> ChoiceList<T> {
    ChoiceList(default)
}

impl<T: Choices> Setting for ChoiceList<T> {
    type Value = Vec<T>;

    fn default(&self) -> Vec<T> {
        self.0.to_vec()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Vec<T>, Vec<Refusal>> {
        let DeValue::Array(items) = value.get_ref() else {
            let expected = format!("an array of {}", quoted::<T>());
            return Err(vec![Refusal::wrong_type(&expected, value.get_ref())]);
        };
        let mut chosen = Vec::new();
        let mut refusals = Vec::new();
        for item in items {
            let named = named(item.get_ref()).and_then(|value| {
                if chosen.contains(&value) {
                    return Err(Refusal::new(format!("\"{}\" is there twice", name_of(value))));
                }
                Ok(value)
            });
            match named {
                Ok(value) => chosen.push(value),
                Err(refusal) => refusals.push(Refusal {
                    span: Some(item.span()),
                    ..refusal
                }),
            }
        }
        if refusals.is_empty() {
            Ok(chosen)
        } else {
            Err(refusals)
        }
    }

    fn describe(&self) -> Description {
        let default: Vec<_> = self.0.iter().map(|value| name_of(*value)).collect();
        Description {
            kind: "array of strings".into(),
            default: format!("{default:?}"),
            allowed: quoted::<T>(),
            schema: json!({
                "type": "array",
                "items": { "enum": names::<T>().collect::<Vec<_>>() },
                "uniqueItems": true,
                "default": default,
            }),
        }
    }
}
