//! Lists and texts about callers: issuers, audiences, scopes, files of keys.

use std::path::{Path, PathBuf};

use serde_json::json;
use toml::Spanned;
use toml::de::DeValue;

use super::upstream::each_text;
use super::{Description, Refusal, Setting};

/// A text that must be set, and what it is.
pub(in crate::config) struct Text(pub(in crate::config) &'static str);

impl Setting for Text {
    type Value = String;

    /// It must be set; whoever reads all of the configuration checks that.
    fn default(&self) -> String {
        String::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<String, Vec<Refusal>> {
        match value.get_ref() {
            DeValue::String(text) if text.is_empty() => Err(vec![Refusal::new("the text is empty")]),
            DeValue::String(text) => Ok(text.clone().into_owned()),
            other => Err(vec![Refusal::wrong_type("a string", other)]),
        }
    }

    fn describe(&self) -> Description {
        Description {
            kind: "string".into(),
            default: "none, must be set".into(),
            allowed: self.0.into(),
            schema: json!({ "type": "string", "minLength": 1 }),
        }
    }
}

/// Texts of which there must be one at least, and what each is.
pub(in crate::config) struct Texts(pub(in crate::config) &'static str);

impl Setting for Texts {
    type Value = Vec<String>;

    /// It must be set; whoever reads all of the configuration checks that.
    fn default(&self) -> Vec<String> {
        Vec::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Vec<String>, Vec<Refusal>> {
        let texts = each_text(value, self.0, |text| match text {
            "" => Err(Refusal::new("the text is empty")),
            text => Ok(text.to_owned()),
        })?;
        match texts.is_empty() {
            true => Err(vec![Refusal::new("the list is empty")]),
            false => Ok(texts),
        }
    }

    fn describe(&self) -> Description {
        Description {
            kind: "array of strings".into(),
            default: "none, must be set".into(),
            allowed: String::new(),
            schema: json!({
                "type": "array", "minItems": 1, "items": { "type": "string", "minLength": 1 },
            }),
        }
    }
}

/// Paths of files; relative ones are relative to the configuration file's folder.
pub(in crate::config) struct Paths;

impl Setting for Paths {
    type Value = Vec<PathBuf>;

    fn default(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, folder: &Path) -> Result<Vec<PathBuf>, Vec<Refusal>> {
        each_text(value, "file", |text| match text {
            "" => Err(Refusal::new("the path is empty")),
            path if path.contains('\0') => Err(Refusal::new("a path cannot hold a NUL character")),
            path => Ok(folder.join(path)),
        })
    }

    fn describe(&self) -> Description {
        Description {
            kind: "array of strings, paths of files".into(),
            default: "[]".into(),
            allowed: String::new(),
            schema: json!({
                "type": "array", "items": { "type": "string", "minLength": 1 }, "default": [],
            }),
        }
    }
}

/// Scopes as OAuth writes them.
pub(in crate::config) struct Scopes;

impl Setting for Scopes {
    type Value = Vec<String>;

    fn default(&self) -> Vec<String> {
        Vec::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Vec<String>, Vec<Refusal>> {
        each_text(value, "scope", |text| {
            if is_scope(text) {
                Ok(text.to_owned())
            } else {
                Err(Refusal::new(format!("{text:?} is no scope"))
                    .hint("a scope is printable ASCII without spaces, quotes and backslashes"))
            }
        })
    }

    fn describe(&self) -> Description {
        Description {
            kind: "array of strings".into(),
            default: "[]".into(),
            allowed: "scopes such as \"orders.write\"".into(),
            schema: json!({
                "type": "array", "items": { "type": "string", "pattern": SCOPE_PATTERN }, "default": [],
            }),
        }
    }
}

/// RFC 6749, section 3.3.
const SCOPE_PATTERN: &str = r"^[!#-\[\]-~]+$";

fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'))
}
