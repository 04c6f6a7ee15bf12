//! A plugin's value that stands outside the configuration file: in a file of its own or in the environment.

use std::io::Read;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::Refusal;

/// More than any key, token or certificate chain, and little enough to hold for each plugin.
const MAX_BYTES: u64 = 64 * 1024;

/// The text that `value` refers to with `{ file = "PATH" }` or `{ env = "NAME" }`, or none when it refers to
/// nothing. Fails when there is no such text. No message shows any of the text.
pub(super) fn read(value: &DeValue<'_>, folder: &Path) -> Option<Result<String, Refusal>> {
    let DeValue::Table(table) = value else { return None };
    let text = match referred(table)? {
        ("file", place) => place.and_then(|path| from_file(&folder.join(path))),
        (_, place) => place.and_then(from_environment),
    };
    Some(text.and_then(|text| match text.is_empty() {
        true => Err(Refusal::new("what it refers to is empty").hint("write \"\" if it is to be empty")),
        false => Ok(text),
    }))
}

/// Which of the two keys `table` has, and its value. A table with further keys is a table.
fn referred<'t>(table: &'t DeTable<'_>) -> Option<(&'t str, Result<&'t str, Refusal>)> {
    let mut entries = table.iter();
    let (key, value) = entries.next()?;
    let key = key.get_ref().as_ref();
    if entries.next().is_some() || !matches!(key, "file" | "env") {
        return None;
    }
    let place = match value.get_ref() {
        DeValue::String(place) => Ok(place.as_ref()),
        other => Err(Refusal {
            span: Some(value.span()),
            ..Refusal::wrong_type("a string", other)
        }),
    };
    Some((key, place))
}

/// What is in the file, without the line feed that editors and `echo` put at its end.
fn from_file(path: &Path) -> Result<String, Refusal> {
    let refuse = |problem: String| Refusal::new(format!("cannot read {}: {problem}", path.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            refuse(error.to_string())
                .hint("a relative path is relative to the folder of the configuration file")
        })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refuse(format!("it is larger than {MAX_BYTES} bytes")));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8".into()))?;
    if text.ends_with('\n') {
        text.truncate(text.len() - if text.ends_with("\r\n") { 2 } else { 1 });
    }
    Ok(text)
}

fn from_environment(name: &str) -> Result<String, Refusal> {
    // `var_os` panics on such names on some systems.
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Refusal::new(format!(
            "{name:?} cannot be the name of an environment variable"
        )));
    }
    let text = std::env::var_os(name)
        .ok_or_else(|| Refusal::new(format!("the environment variable {name} is not set")))?
        .into_string()
        .map_err(|_| Refusal::new(format!("the environment variable {name} is not UTF-8")))?;
    if text.len() as u64 > MAX_BYTES {
        let problem = format!("the environment variable {name} is larger than {MAX_BYTES} bytes");
        return Err(Refusal::new(problem));
    }
    Ok(text)
}
