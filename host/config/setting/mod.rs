//! The kinds of value a key can have: how each is read, checked, defaulted and described.

use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

mod auth;
mod choice;
mod network;
mod number;
mod plugin;
mod rate;
mod secret;
mod text;
mod topics;
mod upstream;

pub(super) use auth::{Paths, Scopes, Text, Texts};
pub(super) use choice::{Choices, choice, choices, toggle};
pub(super) use network::{TrustedProxies, file_mode};
pub(super) use number::{
    GIB, KIB, MIB, TIB, bytes, count, count_u32, long_bytes, long_count, millis, seconds,
};
pub(super) use plugin::{FreeTable, Grants};
pub(super) use rate::RateText;
pub use text::check_log_filter;
pub(super) use text::{Origins, address, log_filter, path_to};
pub(super) use topics::Topics;
pub(super) use upstream::{AllowedMethods, MetadataKeys, Url};

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

/// The candidate that `text` was probably meant to be: one that looks like it, or that it is a part of.
pub(super) fn closest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| {
            let part = text.len() > 3 && candidate.contains(text);
            (
                if part {
                    0.9
                } else {
                    strsim::jaro_winkler(text, candidate)
                },
                candidate,
            )
        })
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
