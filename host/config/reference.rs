//! The configuration reference and the JSON schema, both made from the table in `keys.rs`.

use std::fmt::Write;

use serde_json::{Value, json};

use super::keys::SECTIONS;
use super::section::Section;
use super::{MethodName, PluginName};

const INTRODUCTION: &str = include_str!("reference.md");

/// `docs/configuration.md`.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in SECTIONS {
        let _ = write!(page, "\n## `[{}]`\n\n{}\n", section.path, wrapped(section.doc));
        for key in (section.keys)() {
            let description = key.description;
            let _ = write!(page, "\n### `{}`\n\n{}\n\n", key.name, wrapped(key.doc));
            let _ = writeln!(page, "- Type: {}", description.kind);
            if !description.allowed.is_empty() {
                let _ = writeln!(page, "- Allowed: {}", description.allowed);
            }
            let _ = writeln!(page, "- Default: {}", description.default);
        }
    }
    page
}

/// `docs/mortise.schema.json`, with a line feed at its end.
pub fn schema() -> String {
    let mut sections = serde_json::Map::new();
    for section in SECTIONS {
        let named = |pattern: &str| {
            json!({
                "type": "object",
                "propertyNames": { "pattern": pattern },
                "additionalProperties": table_schema(section),
            })
        };
        let schema = match section.path {
            "plugins.NAME" | "upstreams.NAME" | "subscriptions.NAME" | "issuers.NAME" => {
                named(PluginName::PATTERN)
            }
            "methods.NAME" => named(MethodName::PATTERN),
            _ => table_schema(section),
        };
        sections.insert(section.top().to_owned(), schema);
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Mortise configuration",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
    });
    format!("{schema:#}\n")
}

fn table_schema(section: &Section) -> Value {
    let properties: serde_json::Map<_, _> = (section.keys)()
        .into_iter()
        .map(|key| {
            let mut schema = key.description.schema;
            schema["description"] = paragraph(key.doc).into();
            (key.name.to_owned(), schema)
        })
        .collect();
    json!({
        "type": "object",
        "description": paragraph(section.doc),
        "additionalProperties": false,
        "properties": properties,
    })
}

/// A doc comment as one line.
fn paragraph(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A doc comment as it stands in the source, without its indentation.
fn wrapped(doc: &str) -> String {
    doc.lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join("\n")
        .trim_end()
        .to_owned()
}
