//! Reads a configuration file into the sections of `keys.rs`, collecting every mistake.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Location};
use super::keys::SECTIONS;
use super::setting::{Refusal, Setting, closest};

/// A configuration file larger than this is none.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The text of a configuration file.
pub(super) struct Source {
    file: Arc<Path>,
    text: String,
}

impl Source {
    pub(super) fn read(path: &Path) -> Result<Source, ConfigError> {
        let refuse = |problem: String, hint: Option<&str>| ConfigError {
            location: None,
            key: path.display().to_string(),
            problem,
            hint: hint.map(str::to_owned),
        };
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| refuse(format!("cannot read the configuration file: {error}"), None))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(refuse(
                "the file is larger than 1 MiB".into(),
                Some("is this the right file?"),
            ));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Source {
                file: path.into(),
                text,
            }),
            Err(error) => {
                let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
                    .split(|b| *b == b'\n')
                    .count();
                Err(refuse(
                    format!("line {line} is not UTF-8"),
                    Some("save the file as UTF-8 text"),
                ))
            }
        }
    }

    fn locate(&self, span: &Range<usize>) -> Location {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Location {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }
}

/// What reading a file brought to light besides the values.
pub(super) struct Reader<'s> {
    source: &'s Source,
    pub(super) errors: Vec<ConfigError>,
    /// Where each key stands, for errors that are found only later.
    pub(super) locations: BTreeMap<String, Location>,
    /// Lines that are not TOML. What is missed on them is not an error of its own.
    broken_lines: HashSet<usize>,
}

impl<'s> Reader<'s> {
    /// Parses `source` as far as it can be parsed and reports its syntax errors.
    pub(super) fn parse(source: &'s Source) -> (Spanned<DeTable<'s>>, Reader<'s>) {
        let (document, syntax_errors) = DeTable::parse_recoverable(&source.text);
        let mut reader = Reader {
            source,
            errors: Vec::new(),
            locations: BTreeMap::new(),
            broken_lines: HashSet::new(),
        };
        for error in syntax_errors {
            let location = source.locate(&error.span().unwrap_or(0..0));
            // One slip of the pen makes the parser stumble repeatedly; the first report tells it all.
            if reader.broken_lines.insert(location.line) {
                reader.errors.push(ConfigError {
                    location: Some(location),
                    key: String::new(),
                    problem: format!("not valid TOML: {}", error.message()),
                    hint: None,
                });
            }
        }
        (document, reader)
    }

    /// Whether the whole file was valid TOML, so that what is not there was really left out.
    pub(super) fn is_complete(&self) -> bool {
        self.broken_lines.is_empty()
    }

    /// The table under `key` of `parent`, or none if it is absent or no table, which is reported.
    pub(super) fn table<'t>(
        &mut self,
        parent: &'t DeTable<'s>,
        path: &str,
        key: &str,
    ) -> Option<&'t DeTable<'s>> {
        let (name, value) = parent.get_key_value(key)?;
        let path = join(path, key);
        self.locations
            .insert(path.clone(), self.source.locate(&name.span()));
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                let problem = format!("expected a table, found a value of type {}", other.type_str());
                self.report(
                    &value.span(),
                    path.clone(),
                    problem,
                    Some(format!("write [{path}]")),
                );
                None
            }
        }
    }

    /// The value of `key`, or its default where it is absent or wrong, which is reported.
    pub(super) fn setting<S: Setting>(
        &mut self,
        table: Option<&DeTable<'s>>,
        path: &str,
        key: &str,
        setting: &S,
    ) -> S::Value {
        let Some((name, value)) = table.and_then(|table| table.get_key_value(key)) else {
            return setting.default();
        };
        let path = join(path, key);
        self.locations
            .insert(path.clone(), self.source.locate(&name.span()));
        if let DeValue::Table(entries) = value.get_ref() {
            for entry in entries.keys() {
                let location = self.source.locate(&entry.span());
                self.locations.insert(join(&path, entry.get_ref()), location);
            }
        }
        setting
            .parse(value, self.source.folder())
            .unwrap_or_else(|refusals| {
                for Refusal {
                    problem,
                    hint,
                    span,
                    inner_key,
                } in refusals
                {
                    let path = inner_key.map_or_else(|| path.clone(), |key| join(&path, &key));
                    self.report(&span.unwrap_or(value.span()), path, problem, hint);
                }
                setting.default()
            })
    }

    /// Reports the keys of `table` that are none of `known`.
    pub(super) fn refuse_unknown(&mut self, table: &DeTable<'s>, path: &str, known: &[&str]) {
        for name in table.keys() {
            let key = name.get_ref().as_ref();
            if known.contains(&key) {
                continue;
            }
            let home = SECTIONS
                .iter()
                .find(|section| section.has(key) && section.path != path);
            let hint = match (closest(key, known.iter().copied()), home) {
                (Some(likely), _) => format!("did you mean `{likely}`?"),
                (None, Some(section)) => format!("`{key}` is a key of [{}]", section.path),
                (None, None) => format!("known here: {}", known.join(", ")),
            };
            self.report(&name.span(), join(path, key), "unknown key".into(), Some(hint));
        }
    }

    /// Reports a mistake at `span`, unless the parser stumbled over that line already.
    pub(super) fn report(&mut self, span: &Range<usize>, key: String, problem: String, hint: Option<String>) {
        let location = self.source.locate(span);
        if !self.broken_lines.contains(&location.line) {
            self.errors.push(ConfigError {
                location: Some(location),
                key,
                problem,
                hint,
            });
        }
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
