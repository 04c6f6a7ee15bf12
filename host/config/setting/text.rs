//! Strings with a meaning: addresses, paths, log filters.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;
use toml::Spanned;
use toml::de::DeValue;

use super::{Description, Refusal, Setting, a, closest};

/// An IP address with a port.
pub(in crate::config) struct Address(SocketAddr);

pub(in crate::config) const fn address(default: SocketAddr) -> Address {
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
pub(in crate::config) struct PathTo {
    what: &'static str,
    default: &'static str,
}

/// `default` is relative to the working directory, as it is in no file. An empty one means that the key
/// must be set, by file or by flag; whoever applies the flags checks that.
pub(in crate::config) const fn path_to(what: &'static str, default: &'static str) -> PathTo {
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

/// Web origins (RFC 6454), as browsers write them, or `*` for all of them; none by default.
pub(in crate::config) struct Origins;

impl Setting for Origins {
    type Value = Vec<String>;

    fn default(&self) -> Vec<String> {
        Vec::new()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Vec<String>, Vec<Refusal>> {
        let DeValue::Array(items) = value.get_ref() else {
            return Err(vec![Refusal::wrong_type("an array of origins", value.get_ref())]);
        };
        let mut origins = Vec::new();
        let mut refusals = Vec::new();
        for item in items {
            let refusal = match item.get_ref() {
                DeValue::String(text) if is_origin(text) => {
                    origins.push(text.to_string());
                    continue;
                }
                DeValue::String(text) => Refusal::new(format!("{text:?} is not an origin"))
                    .hint("write SCHEME://HOST or SCHEME://HOST:PORT in lower case, or \"*\" for every page"),
                other => Refusal::wrong_type("an origin", other),
            };
            refusals.push(Refusal {
                span: Some(item.span()),
                ..refusal
            });
        }
        if refusals.is_empty() {
            Ok(origins)
        } else {
            Err(refusals)
        }
    }

    fn describe(&self) -> Description {
        Description {
            kind: "array of strings".into(),
            default: "[]".into(),
            allowed: "origins such as \"https://shop.example\", or \"*\"".into(),
            schema: json!({ "type": "array", "items": { "type": "string" }, "default": [] }),
        }
    }
}

/// Browsers compare byte by byte, so anything they would write otherwise never matches.
fn is_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Ok(uri) = text.parse::<http::Uri>() else {
        return false;
    };
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => {
            text == format!("{scheme}://{authority}")
                && !authority.as_str().contains('@')
                && !text.bytes().any(|byte| byte.is_ascii_uppercase())
        }
        _ => false,
    }
}

/// Directives in the syntax of `tracing_subscriber::EnvFilter`.
pub(in crate::config) struct LogFilter(&'static str);

pub(in crate::config) const fn log_filter(default: &'static str) -> LogFilter {
    LogFilter(default)
}

/// Whether `text` can be the value of `log.filter`.
///
/// # Errors
/// What is wrong with it, and how to mend it where that can be said.
pub fn check_log_filter(text: &str) -> Result<(), String> {
    check_directives(text).map_err(|refusal| match refusal.hint {
        Some(hint) => format!("{}: {hint}", refusal.problem),
        None => refusal.problem,
    })
}

fn check_directives(text: &str) -> Result<(), Refusal> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // A bare word that is no level selects a target of that name, and so silences all else: what was
    // meant by "warning" or "inof" is surely the level.
    let misspelt = text
        .split(',')
        .map(str::trim)
        .filter(|word| !LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level)))
        .find_map(|word| Some((word, closest(word, LEVELS)?)));
    if let Some((word, level)) = misspelt {
        return Err(Refusal::new(format!("{word:?} is no level")).hint(format!("did you mean \"{level}\"?")));
    }
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::new(format!("{text:?} is not a log filter: {error}"))),
    }
}

impl Setting for LogFilter {
    type Value = String;

    fn default(&self) -> String {
        self.0.to_owned()
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<String, Vec<Refusal>> {
        let DeValue::String(text) = value.get_ref() else {
            return Err(vec![Refusal::wrong_type("log directives", value.get_ref())]);
        };
        check_directives(text)
            .map(|()| text.clone().into_owned())
            .map_err(|refusal| vec![refusal])
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
