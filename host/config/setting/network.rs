//! Who is let in: networks of proxies, permissions of a socket.

use std::path::Path;

use serde_json::json;
use toml::Spanned;
use toml::de::DeValue;

use super::{Description, Refusal, Setting};
use crate::server::TrustedProxy;

/// Addresses and networks (CIDR), and `unix` for whoever connects to the Unix-domain socket; none by default.
pub(in crate::config) struct TrustedProxies;

impl Setting for TrustedProxies {
    type Value = Vec<TrustedProxy>;

    fn default(&self) -> Vec<TrustedProxy> {
        Vec::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Vec<TrustedProxy>, Vec<Refusal>> {
        let DeValue::Array(items) = value.get_ref() else {
            return Err(vec![Refusal::wrong_type("an array of networks", value.get_ref())]);
        };
        let mut proxies = Vec::new();
        let mut refusals = Vec::new();
        for item in items {
            let refusal = match item.get_ref() {
                DeValue::String(text) => match text.parse() {
                    Ok(proxy) => {
                        proxies.push(proxy);
                        continue;
                    }
                    Err(error) => Refusal::new(format!("{text:?} {error}"))
                        .hint("for instance \"10.0.0.0/8\", \"192.0.2.7\", \"fd00::/8\" or \"unix\""),
                },
                other => Refusal::wrong_type("a network", other),
            };
            refusals.push(Refusal {
                span: Some(item.span()),
                ..refusal
            });
        }
        if refusals.is_empty() {
            Ok(proxies)
        } else {
            Err(refusals)
        }
    }

    fn describe(&self) -> Description {
        Description {
            kind: "array of strings".into(),
            default: "[]".into(),
            allowed: "addresses, networks such as \"10.0.0.0/8\", or \"unix\"".into(),
            schema: json!({ "type": "array", "items": { "type": "string" }, "default": [] }),
        }
    }
}

/// Permissions of a file, in octal.
pub(in crate::config) struct FileMode(u32);

pub(in crate::config) const fn file_mode(default: u32) -> FileMode {
    FileMode(default)
}

/// Three octal digits, with or without a zero before them.
fn mode(text: &str) -> Option<u32> {
    let digits = text
        .strip_prefix('0')
        .filter(|rest| rest.len() == 3)
        .unwrap_or(text);
    (digits.len() == 3 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7')))
        .then(|| u32::from_str_radix(digits, 8).ok())
        .flatten()
}

impl Setting for FileMode {
    type Value = u32;

    fn default(&self) -> u32 {
        self.0
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<u32, Vec<Refusal>> {
        let expected = "permissions in octal";
        let DeValue::String(text) = value.get_ref() else {
            let refusal = Refusal::wrong_type(expected, value.get_ref());
            return Err(vec![refusal.hint("as a string, for instance \"0660\"")]);
        };
        mode(text).ok_or_else(|| {
            let refusal = Refusal::new(format!("{text:?} is not {expected}"));
            vec![refusal.hint("for instance \"0660\"")]
        })
    }

    fn describe(&self) -> Description {
        let default = format!("{:04o}", self.0);
        Description {
            kind: "string, permissions in octal".into(),
            default: format!("\"{default}\""),
            allowed: "\"0000\" to \"0777\"".into(),
            schema: json!({ "type": "string", "pattern": "^0?[0-7]{3}$", "default": default }),
        }
    }
}
