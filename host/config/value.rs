//! Values under `[plugins.NAME.config]`: free in form here, checked later against what the plugin declares.

use std::fmt;

use toml::Spanned;
use toml::de::DeValue;

/// A value that the operator set for a plugin.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigValue {
    kind: ValueKind,
    text: String,
}

/// The TOML type of a [`ConfigValue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// A string, or a date or time, which the contract has no type for.
    Text,
    /// A whole number.
    Integer,
    /// A number with a fraction or an exponent.
    Float,
    /// `true` or `false`.
    Boolean,
    /// An array.
    Array,
    /// A table.
    Table,
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueKind::Text => "string",
            ValueKind::Integer => "integer",
            ValueKind::Float => "float",
            ValueKind::Boolean => "boolean",
            ValueKind::Array => "array",
            ValueKind::Table => "table",
        })
    }
}

impl ConfigValue {
    /// A string value, for settings that do not come from a file.
    pub fn text(text: impl Into<String>) -> Self {
        ConfigValue {
            kind: ValueKind::Text,
            text: text.into(),
        }
    }

    /// A boolean value, for settings that do not come from a file.
    pub fn boolean(value: bool) -> Self {
        ConfigValue {
            kind: ValueKind::Boolean,
            text: value.to_string(),
        }
    }

    /// An integer value, for settings that do not come from a file.
    pub fn integer(value: i64) -> Self {
        ConfigValue {
            kind: ValueKind::Integer,
            text: value.to_string(),
        }
    }

    /// The value's TOML type.
    pub fn kind(&self) -> ValueKind {
        self.kind
    }

    /// The value as the plugin reads it: a string as it is, a number or boolean in its TOML form (integers
    /// in decimal), an array or table as JSON.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Reads a TOML value. Fails with what is wrong when a number does not fit 64 bits, or when a number
    /// inside an array or table has no form in JSON (`inf`, `nan`).
    pub(super) fn parse(value: &Spanned<DeValue<'_>>) -> Result<Self, String> {
        let (kind, text) = match value.get_ref() {
            DeValue::String(text) => (ValueKind::Text, text.clone().into_owned()),
            DeValue::Datetime(datetime) => (ValueKind::Text, datetime.to_string()),
            value @ DeValue::Integer(_) => (ValueKind::Integer, json(value)?.to_string()),
            DeValue::Float(float) => (ValueKind::Float, float.as_str().to_owned()),
            DeValue::Boolean(value) => (ValueKind::Boolean, value.to_string()),
            value @ DeValue::Array(_) => (ValueKind::Array, json(value)?.to_string()),
            value @ DeValue::Table(_) => (ValueKind::Table, json(value)?.to_string()),
        };
        Ok(ConfigValue { kind, text })
    }
}

/// Shows the type only: an operator may well put a secret here, and `Debug` ends up in logs.
impl fmt::Debug for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.kind)
    }
}

fn json(value: &DeValue<'_>) -> Result<serde_json::Value, String> {
    Ok(match value {
        DeValue::String(text) => serde_json::Value::from(text.as_ref()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_err(|_| "the integer does not fit 64 bits".to_owned())?
            .into(),
        DeValue::Float(float) => float
            .as_str()
            .parse()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .ok_or("a number inside an array or table must be finite, as JSON has no other")?
            .into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(datetime) => datetime.to_string().into(),
        DeValue::Array(items) => items
            .iter()
            .map(|item| json(item.get_ref()))
            .collect::<Result<Vec<_>, _>>()?
            .into(),
        DeValue::Table(entries) => entries
            .iter()
            .map(|(key, value)| Ok((key.get_ref().to_string(), json(value.get_ref())?)))
            .collect::<Result<serde_json::Map<_, _>, String>>()?
            .into(),
    })
}
