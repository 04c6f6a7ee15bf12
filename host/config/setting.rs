//! The kinds of value a key can have: how each is read, checked, defaulted and described.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use toml::Spanned;
use toml::de::DeValue;

use super::value::ConfigValue;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
pub(super) const TIB: u64 = 1 << 40;

/// Why a value was refused.
pub(super) struct Refusal {
    pub(super) problem: String,
    pub(super) hint: Option<String>,
    /// The part of the value that is wrong, where it is not all of it.
    pub(super) span: Option<std::ops::Range<usize>>,
    /// The key inside the value, where it is a table.
    pub(super) inner_key: Option<String>,
}

impl Refusal {
    fn new(problem: impl Into<String>) -> Self {
        Refusal {
            problem: problem.into(),
            hint: None,
            span: None,
            inner_key: None,
        }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Refusal {
            hint: Some(hint.into()),
            ..self
        }
    }

    fn wrong_type(expected: &str, value: &DeValue<'_>) -> Self {
        Refusal::new(format!("expected {expected}, found {}", a(value.type_str())))
    }
}

/// How the reference and the schema describe a setting.
pub(super) struct Description {
    /// The type in a word or two.
    pub(super) kind: String,
    /// The default as TOML, or in words.
    pub(super) default: String,
    /// What is allowed, in words; empty when the type says it all.
    pub(super) allowed: String,
    /// The JSON schema of the value.
    pub(super) schema: serde_json::Value,
}

/// One kind of value, with its default and its bounds.
pub(super) trait Setting {
    type Value;

    fn default(&self) -> Self::Value;
    /// `folder` is what relative paths are relative to.
    fn parse(&self, value: &Spanned<DeValue<'_>>, folder: &Path) -> Result<Self::Value, Vec<Refusal>>;
    fn describe(&self) -> Description;
}

/// A whole number with a unit, converted to the type the host works with.
pub(super) struct Integer<T> {
    unit: &'static str,
    default: u64,
    min: u64,
    max: u64,
    convert: fn(u64) -> T,
}

fn saturating_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A size held in memory.
pub(super) const fn bytes(default: u64, min: u64, max: u64) -> Integer<usize> {
    Integer {
        unit: "bytes",
        default,
        min,
        max,
        convert: saturating_usize,
    }
}

/// A size that may exceed the address space, such as a file's.
pub(super) const fn long_bytes(default: u64, min: u64, max: u64) -> Integer<u64> {
    Integer {
        unit: "bytes",
        default,
        min,
        max,
        convert: |number| number,
    }
}

pub(super) const fn count(default: u64, min: u64, max: u64) -> Integer<usize> {
    Integer {
        unit: "",
        default,
        min,
        max,
        convert: saturating_usize,
    }
}

/// A number that a protocol holds in 32 bits.
pub(super) const fn count_u32(default: u32, min: u32, max: u32) -> Integer<u32> {
    Integer {
        unit: "",
        default: default as u64,
        min: min as u64,
        max: max as u64,
        convert: |number| u32::try_from(number).unwrap_or(u32::MAX),
    }
}

pub(super) const fn millis(default: u64, min: u64, max: u64) -> Integer<Duration> {
    Integer {
        unit: "milliseconds",
        default,
        min,
        max,
        convert: Duration::from_millis,
    }
}

pub(super) const fn seconds(default: u64, min: u64, max: u64) -> Integer<Duration> {
    Integer {
        unit: "seconds",
        default,
        min,
        max,
        convert: Duration::from_secs,
    }
}

impl<T> Integer<T> {
    /// `10485760 bytes (10 MiB)`
    fn show(&self, number: u64) -> String {
        let scale = match self.unit {
            "bytes" => [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)]
                .into_iter()
                .find(|(_, size)| number >= *size && number.is_multiple_of(*size))
                .map(|(name, size)| format!(" ({} {name})", number / size)),
            "milliseconds" if number >= 1000 && number.is_multiple_of(1000) => Some(format!(
                " ({})",
                humantime::format_duration(Duration::from_millis(number))
            )),
            _ => None,
        };
        format!("{number}{}", scale.unwrap_or_default())
    }

    fn allowed(&self) -> String {
        let unit = if self.unit.is_empty() {
            String::new()
        } else {
            format!(" {}", self.unit)
        };
        format!("{} to {}{unit}", self.show(self.min), self.show(self.max))
    }
}

impl<T> Setting for Integer<T> {
    type Value = T;

    fn default(&self) -> T {
        (self.convert)(self.default)
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<T, Vec<Refusal>> {
        let DeValue::Integer(integer) = value.get_ref() else {
            let unit = if self.unit.is_empty() {
                String::new()
            } else {
                format!(" of {}", self.unit)
            };
            let refusal = Refusal::wrong_type(&format!("a whole number{unit}"), value.get_ref());
            return Err(vec![refusal.hint(format!("allowed: {}", self.allowed()))]);
        };
        u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| (self.min..=self.max).contains(number))
            .map(self.convert)
            .ok_or_else(|| {
                let refusal = Refusal::new(format!("{integer} is out of range"));
                vec![refusal.hint(format!("allowed: {}", self.allowed()))]
            })
    }

    fn describe(&self) -> Description {
        Description {
            kind: if self.unit.is_empty() {
                "integer".into()
            } else {
                format!("integer, {}", self.unit)
            },
            default: self.show(self.default),
            allowed: self.allowed(),
            schema: json!({
                "type": "integer", "minimum": self.min, "maximum": self.max, "default": self.default,
            }),
        }
    }
}

/// A setting that may be left out; `unset` says what that means.
pub(super) struct Optional<S> {
    unset: &'static str,
    inner: S,
}

/// `inner`, or `unset` in words. The default of `inner` is not used.
pub(super) const fn optional<S>(unset: &'static str, inner: S) -> Optional<S> {
    Optional { unset, inner }
}

impl<S: Setting> Setting for Optional<S> {
    type Value = Option<S::Value>;

    fn default(&self) -> Self::Value {
        None
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, folder: &Path) -> Result<Self::Value, Vec<Refusal>> {
        self.inner.parse(value, folder).map(Some)
    }

    fn describe(&self) -> Description {
        let mut description = self.inner.describe();
        description.default = format!("unset: {}", self.unset);
        if let Some(schema) = description.schema.as_object_mut() {
            schema.remove("default");
        }
        description
    }
}

/// `true` or `false`.
pub(super) struct Toggle(bool);

pub(super) const fn toggle(default: bool) -> Toggle {
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
pub(super) trait Choices: Copy + PartialEq + 'static {
    const CHOICES: &'static [(&'static str, Self)];
}

/// One of the names of `T`.
pub(super) struct Choice<T>(T);

pub(super) const fn choice<T: Choices>(default: T) -> Choice<T> {
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

/// An IP address with a port.
pub(super) struct Address(SocketAddr);

pub(super) const fn address(default: SocketAddr) -> Address {
    Address(default)
}

impl Setting for Address {
    type Value = SocketAddr;

    fn default(&self) -> SocketAddr {
        self.0
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<SocketAddr, Vec<Refusal>> {
        let expected = "an IP address with a port";
        let DeValue::String(text) = value.get_ref() else {
            return Err(vec![Refusal::wrong_type(expected, value.get_ref())]);
        };
        text.parse().map_err(|_| {
            let refusal = Refusal::new(format!("{text:?} is not {expected}"));
            vec![refusal.hint("for instance \"127.0.0.1:50051\", or \"[::]:50051\" for every interface")]
        })
    }

    fn describe(&self) -> Description {
        Description {
            kind: "string, IP:PORT".into(),
            default: format!("\"{}\"", self.0),
            allowed: String::new(),
            schema: json!({ "type": "string", "default": self.0.to_string() }),
        }
    }
}

/// The path of a file or folder; a relative one is relative to the configuration file's folder.
pub(super) struct PathTo {
    what: &'static str,
    default: &'static str,
}

/// `default` is relative to the working directory, as it is in no file. An empty one means that the key
/// must be set, by file or by flag; whoever applies the flags checks that.
pub(super) const fn path_to(what: &'static str, default: &'static str) -> PathTo {
    PathTo { what, default }
}

impl Setting for PathTo {
    type Value = PathBuf;

    fn default(&self) -> PathBuf {
        PathBuf::from(self.default)
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, folder: &Path) -> Result<PathBuf, Vec<Refusal>> {
        match value.get_ref() {
            DeValue::String(text) if text.is_empty() => Err(vec![Refusal::new("the path is empty")]),
            DeValue::String(text) if text.contains('\0') => {
                Err(vec![Refusal::new("a path cannot hold a NUL character")])
            }
            DeValue::String(text) => Ok(folder.join(text.as_ref())),
            other => Err(vec![Refusal::wrong_type(
                &format!("the path of {}", a(self.what)),
                other,
            )]),
        }
    }

    fn describe(&self) -> Description {
        let mut schema = json!({ "type": "string", "minLength": 1 });
        if !self.default.is_empty() {
            schema["default"] = self.default.into();
        }
        Description {
            kind: format!("string, path of {}", a(self.what)),
            default: if self.default.is_empty() {
                "none, must be set".into()
            } else {
                format!("\"{}\"", self.default)
            },
            allowed: String::new(),
            schema,
        }
    }
}

/// Directives in the syntax of `tracing_subscriber::EnvFilter`.
pub(super) struct LogFilter(&'static str);

pub(super) const fn log_filter(default: &'static str) -> LogFilter {
    LogFilter(default)
}

impl Setting for LogFilter {
    type Value = String;

    fn default(&self) -> String {
        self.0.to_owned()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<String, Vec<Refusal>> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let DeValue::String(text) = value.get_ref() else {
            return Err(vec![Refusal::wrong_type("log directives", value.get_ref())]);
        };
        // A bare word that is no level selects a target of that name, and so silences all else: what was
        // meant by "warning" or "inof" is surely the level.
        let misspelt = text
            .split(',')
            .map(str::trim)
            .filter(|word| !LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level)))
            .find_map(|word| Some((word, closest(word, LEVELS)?)));
        if let Some((word, level)) = misspelt {
            let refusal = Refusal::new(format!("{word:?} is no level"));
            return Err(vec![refusal.hint(format!("did you mean \"{level}\"?"))]);
        }
        match tracing_subscriber::EnvFilter::builder().parse(text) {
            Ok(_) => Ok(text.clone().into_owned()),
            Err(error) => Err(vec![Refusal::new(format!(
                "{text:?} is not a log filter: {error}"
            ))]),
        }
    }

    fn describe(&self) -> Description {
        Description {
            kind: "string, log directives".into(),
            default: format!("\"{}\"", self.0),
            allowed: "a level (off, error, warn, info, debug, trace), or TARGET=LEVEL, separated by commas"
                .into(),
            schema: json!({ "type": "string", "default": self.0 }),
        }
    }
}

/// What the operator allows a plugin beyond the confined capabilities.
pub(super) struct Grants;

impl Setting for Grants {
    type Value = Vec<String>;

    fn default(&self) -> Vec<String> {
        Vec::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Vec<String>, Vec<Refusal>> {
        let DeValue::Array(items) = value.get_ref() else {
            return Err(vec![Refusal::wrong_type("an array of grants", value.get_ref())]);
        };
        // No capability that reaches outside the sandbox exists yet, so every name is unknown.
        let refusals: Vec<_> = items
            .iter()
            .map(|item| {
                let refusal = match item.get_ref() {
                    DeValue::String(text) => Refusal::new(format!("there is no grant {text:?}"))
                        .hint("this version of the host has nothing to grant; leave the list empty"),
                    other => Refusal::wrong_type("the name of a grant", other),
                };
                Refusal {
                    span: Some(item.span()),
                    ..refusal
                }
            })
            .collect();
        if refusals.is_empty() {
            Ok(Vec::new())
        } else {
            Err(refusals)
        }
    }

    fn describe(&self) -> Description {
        Description {
            kind: "array of strings".into(),
            default: "[]".into(),
            allowed: "none in this version".into(),
            schema: json!({ "type": "array", "maxItems": 0, "default": [] }),
        }
    }
}

/// A table whose keys the plugin declares.
pub(super) struct FreeTable;

impl Setting for FreeTable {
    type Value = BTreeMap<String, ConfigValue>;

    fn default(&self) -> Self::Value {
        BTreeMap::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Self::Value, Vec<Refusal>> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(vec![Refusal::wrong_type("a table", value.get_ref())]);
        };
        let mut values = BTreeMap::new();
        let mut refusals = Vec::new();
        for (key, value) in table {
            match ConfigValue::parse(value) {
                Ok(parsed) => drop(values.insert(key.get_ref().to_string(), parsed)),
                Err(problem) => refusals.push(Refusal {
                    span: Some(value.span()),
                    inner_key: Some(key.get_ref().to_string()),
                    ..Refusal::new(problem)
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
            allowed: "the keys that the plugin declares; `mortise inspect` lists them".into(),
            schema: json!({ "type": "object" }),
        }
    }
}

/// The candidate that `text` was probably meant to be.
pub(super) fn closest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(text, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `noun` with its indefinite article.
fn a(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {noun}")
}
