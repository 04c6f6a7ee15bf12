//! What only upstreams have: where they are, and lists of what goes through.

use std::path::Path;

use http::{HeaderName, Uri};
use serde_json::json;
use toml::Spanned;
use toml::de::DeValue;

use super::{Description, Refusal, Setting};
use crate::capability::upstream::AllowedMethod;
use crate::metadata::check_key;

/// Where a target is.
pub(in crate::config) struct Url;

impl Setting for Url {
    type Value = Uri;

    /// It must be set; whoever reads all of the configuration checks that.
    fn default(&self) -> Uri {
        Uri::default()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Uri, Vec<Refusal>> {
        let DeValue::String(text) = value.get_ref() else {
            return Err(vec![Refusal::wrong_type("a URL", value.get_ref())]);
        };
        let refuse = |problem: &str| {
            let refusal = Refusal::new(format!("{text:?} {problem}"));
            vec![refusal.hint("for instance \"http://127.0.0.1:50052\" or \"https://stock.example.com:443\"")]
        };
        let url: Uri = text.parse().map_err(|_| refuse("is not a URL"))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(refuse("is neither http:// nor https://"));
        }
        let authority = url
            .authority()
            .map(http::uri::Authority::as_str)
            .unwrap_or_default();
        if authority.contains('@') {
            return Err(refuse("has a user in it, which gRPC has no use for"));
        }
        if url.port().is_some() && url.port_u16().is_none_or(|port| port == 0) {
            return Err(refuse("has a port that is none"));
        }
        if url.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(refuse("has a path: the methods' own are used"));
        }
        Ok(url)
    }

    fn describe(&self) -> Description {
        Description {
            kind: "string, URL".into(),
            default: "none, must be set".into(),
            allowed: "`http://HOST:PORT`, `https://HOST:PORT`".into(),
            schema: json!({ "type": "string", "pattern": "^https?://[^/@]+/?$" }),
        }
    }
}

/// Methods that may be called.
pub(in crate::config) struct AllowedMethods;

impl Setting for AllowedMethods {
    type Value = Vec<AllowedMethod>;

    fn default(&self) -> Self::Value {
        Vec::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Self::Value, Vec<Refusal>> {
        let methods = each_text(value, "method", |text| {
            AllowedMethod::parse(text).ok_or_else(|| {
                let refusal = Refusal::new(format!("{text:?} is not the name of a method"));
                refusal
                    .hint("write \"package.Service/Method\", or \"package.Service/*\" for all of a service")
            })
        })?;
        if methods.is_empty() {
            // An empty list reads as "nothing", and would be "everything".
            let refusal = Refusal::new("the list is empty");
            return Err(vec![refusal.hint("leave the key out to allow every method")]);
        }
        Ok(methods)
    }

    fn describe(&self) -> Description {
        Description {
            kind: "array of strings".into(),
            default: "unset: every method".into(),
            allowed: "`package.Service/Method`, `package.Service/*`".into(),
            schema: json!({
                "type": "array", "minItems": 1,
                "items": { "type": "string", "pattern": "^[A-Za-z0-9_.]+/([A-Za-z0-9_]+|\\*)$" },
            }),
        }
    }
}

/// Keys of metadata.
pub(in crate::config) struct MetadataKeys;

impl Setting for MetadataKeys {
    type Value = Vec<HeaderName>;

    fn default(&self) -> Self::Value {
        Vec::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Self::Value, Vec<Refusal>> {
        each_text(value, "metadata key", |text| {
            if text == "idempotency-key" {
                let refusal = Refusal::new("\"idempotency-key\" cannot be forwarded");
                return Err(
                    refusal.hint("each upstream call has a key of its own, or the one that the plugin sets")
                );
            }
            let key = check_key(text).map_err(|error| Refusal::new(error.to_string()))?;
            Ok(key)
        })
    }

    fn describe(&self) -> Description {
        Description {
            kind: "array of strings".into(),
            default: "[]".into(),
            allowed: "keys of metadata in lower case".into(),
            schema: json!({
                "type": "array", "items": { "type": "string", "pattern": "^[a-z0-9_.-]+$" }, "default": [],
            }),
        }
    }
}

/// An array of strings, each parsed; all mistakes at once.
pub(super) fn each_text<T>(
    value: &Spanned<DeValue<'_>>,
    what: &str,
    parse: impl Fn(&str) -> Result<T, Refusal>,
) -> Result<Vec<T>, Vec<Refusal>> {
    let DeValue::Array(items) = value.get_ref() else {
        return Err(vec![Refusal::wrong_type(
            &format!("an array of {what}s"),
            value.get_ref(),
        )]);
    };
    let mut parsed = Vec::new();
    let mut refusals = Vec::new();
    for item in items {
        let outcome = match item.get_ref() {
            DeValue::String(text) => parse(text),
            other => Err(Refusal::wrong_type(&format!("the name of a {what}"), other)),
        };
        match outcome {
            Ok(value) => parsed.push(value),
            Err(refusal) => refusals.push(Refusal {
                span: Some(item.span()),
                ..refusal
            }),
        }
    }
    if refusals.is_empty() {
        Ok(parsed)
    } else {
        Err(refusals)
    }
}
