//! The grammar of `idempotency-key`.

use std::borrow::Cow;

use http::HeaderValue;

use crate::status::Failure;

pub(super) const HEADER: &str = "idempotency-key";

/// The longest key, in bytes.
const MAX_BYTES: usize = 255;

/// The key in `value`: a quoted string, as draft-ietf-httpapi-idempotency-key-header has it (RFC 9651,
/// section 3.3.3), or the same key without quotes, as clients of gRPC write metadata.
pub(super) fn parse(value: &HeaderValue, several: bool) -> Result<Cow<'_, str>, Failure> {
    let malformed = |what| Err(Failure::MalformedIdempotencyKey { what });
    if several {
        return malformed("it is there more than once");
    }
    let Ok(text) = value.to_str() else {
        return malformed("it is not ASCII");
    };
    let text = text.trim_ascii();
    let key = match text.strip_prefix('"') {
        Some(quoted) => match unquote(quoted) {
            Some(key) => key,
            None => return malformed("its quotes are not those of a string"),
        },
        None if text.contains(['"', ',', ';', ' ', '\t']) => {
            return malformed("without quotes it may have no blanks, quotes, commas and semicolons");
        }
        None => Cow::Borrowed(text),
    };
    match key.len() {
        0 => malformed("it is empty"),
        1..=MAX_BYTES => Ok(key),
        _ => malformed("it is longer than 255 bytes"),
    }
}

/// What is between the quotes, of which the first is already taken off.
fn unquote(quoted: &str) -> Option<Cow<'_, str>> {
    let inner = quoted.strip_suffix('"')?;
    if !inner.contains(['"', '\\']) {
        return Some(inner.into());
    }
    let mut key = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => key.push(
                characters
                    .next()
                    .filter(|escaped| matches!(escaped, '"' | '\\'))?,
            ),
            '"' => return None,
            plain => key.push(plain),
        }
    }
    Some(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<String> {
        let value = HeaderValue::from_str(value).expect("a header value");
        parse(&value, false).ok().map(Cow::into_owned)
    }

    #[test]
    fn a_key_is_the_same_with_and_without_quotes() {
        let key = "8e03978e-40d5-43dd-bc93-6894a57f9324";
        for written in [key.to_owned(), format!("\"{key}\""), format!(" {key} ")] {
            assert_eq!(read(&written).as_deref(), Some(key), "{written}");
        }
        assert_eq!(read("5a1c/1").as_deref(), Some("5a1c/1"));
        assert_eq!(read(r#""a \"b\" \\ c, d""#).as_deref(), Some(r#"a "b" \ c, d"#));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "x".repeat(256);
        let quoted = format!("\"{long}\"");
        for bad in [
            "",
            "  ",
            "\"\"",
            "\"",
            "\"a",
            "a\"",
            "\"a\";b=1",
            "\"a\", \"b\"",
            "a,b",
            "a b",
            r#""a\""#,
            r#""a\b""#,
            &long,
            &quoted,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(read(&"x".repeat(255)), Some("x".repeat(255)));
        let latin = HeaderValue::from_bytes(b"\xe4").expect("a header value");
        assert!(parse(&latin, false).is_err());
        assert!(parse(&HeaderValue::from_static("a"), true).is_err());
    }
}
