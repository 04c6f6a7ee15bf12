//! Keys as operators write and read them: the elements of `docs/keys.md` as JSON.

use serde_json::{Value, json};

const BYTES: u8 = 0x01;
const TEXT: u8 = 0x02;
const ZERO: u8 = 0x14;
const FALSE: u8 = 0x26;
const TRUE: u8 = 0x27;

/// The key that `text` means: a JSON array of its elements, or `0x` and its bytes.
pub(super) fn parse(text: &str) -> Result<Vec<u8>, String> {
    if let Some(digits) = text.strip_prefix("0x") {
        return from_hex(digits)
            .ok_or_else(|| format!("{text:?} is not 0x and an even number of hexadecimal digits"));
    }
    match serde_json::from_str(text) {
        Ok(value) => encode(&value),
        Err(_) => Err(format!(
            "{text:?} is neither a JSON array, such as [\"orders\", \"ORD-1\"], nor 0x and bytes"
        )),
    }
}

/// The key that `value` stands for, in the lines of an export.
pub(super) fn encode(value: &Value) -> Result<Vec<u8>, String> {
    let elements = match value {
        Value::String(text) if text.starts_with("0x") => return parse(text),
        Value::Array(elements) => elements,
        other => {
            return Err(format!(
                "{other} is no key: expected an array, or a text of 0x and bytes"
            ));
        }
    };
    let mut key = Vec::new();
    for element in elements {
        match element {
            Value::String(text) => escaped(&mut key, TEXT, text.as_bytes()),
            Value::Bool(value) => key.push(if *value { TRUE } else { FALSE }),
            Value::Number(number) => {
                let whole = number
                    .as_i64()
                    .map(i128::from)
                    .or(number.as_u64().map(i128::from));
                let whole = whole.ok_or_else(|| format!("{number} is no whole number of 64 bits"))?;
                integer(&mut key, whole);
            }
            Value::Object(fields) => {
                let bytes = fields.get("bytes").filter(|_| fields.len() == 1);
                let bytes = bytes.and_then(Value::as_str).and_then(from_hex);
                let bytes = bytes.ok_or_else(|| format!("{element} is not {{\"bytes\": \"HEX\"}}"))?;
                escaped(&mut key, BYTES, &bytes);
            }
            other => return Err(format!("{other} cannot be an element of a key")),
        }
    }
    Ok(key)
}

/// The key as JSON that [`encode`] makes the same key of.
pub(super) fn decode(key: &[u8]) -> Value {
    let elements = elements(key).filter(|elements| encode(elements).is_ok_and(|again| again == key));
    elements.unwrap_or_else(|| json!(format!("0x{}", to_hex(key))))
}

fn elements(mut rest: &[u8]) -> Option<Value> {
    let mut elements = Vec::new();
    while let Some((tag, after)) = rest.split_first() {
        rest = after;
        elements.push(match *tag {
            TEXT => json!(String::from_utf8(unescaped(&mut rest)?).ok()?),
            BYTES => json!({ "bytes": to_hex(&unescaped(&mut rest)?) }),
            FALSE => json!(false),
            TRUE => json!(true),
            tag if tag.abs_diff(ZERO) <= 8 => {
                let (digits, after) = rest.split_at_checked(tag.abs_diff(ZERO).into())?;
                rest = after;
                let negative = tag < ZERO;
                let magnitude = digits.iter().fold(0u64, |magnitude, byte| {
                    magnitude << 8 | u64::from(if negative { !byte } else { *byte })
                });
                match negative {
                    true => json!(i64::try_from(-i128::from(magnitude)).ok()?),
                    false => json!(magnitude),
                }
            }
            _ => return None,
        });
    }
    Some(Value::Array(elements))
}

fn integer(key: &mut Vec<u8>, number: i128) {
    let magnitude = u64::try_from(number.unsigned_abs()).unwrap_or(u64::MAX);
    let skip = magnitude.leading_zeros() as usize / 8;
    let width = (8 - skip) as u8;
    if number < 0 {
        key.push(ZERO - width);
        key.extend_from_slice(&(!magnitude).to_be_bytes()[skip..]);
    } else {
        key.push(ZERO + width);
        key.extend_from_slice(&magnitude.to_be_bytes()[skip..]);
    }
}

fn escaped(key: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    key.push(tag);
    for byte in bytes {
        key.push(*byte);
        if *byte == 0 {
            key.push(0xff);
        }
    }
    key.push(0);
}

fn unescaped(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        match (*byte, rest.first()) {
            (0, Some(0xff)) => {
                *rest = &rest[1..];
                bytes.push(0);
            }
            (0, _) => return Some(bytes),
            (byte, _) => bytes.push(byte),
        }
    }
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pairs = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_documented() {
        let page = include_str!("../../../docs/keys.md");
        let examples = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `(")?.split_once(")` | `"));
        let mut count = 0;
        for (elements, bytes) in examples {
            let json = format!("[{}]", elements.replace("\\0", "\\u0000"));
            let bytes = from_hex(&bytes.trim_end_matches("` |").replace(' ', "")).expect("hexadecimal");
            assert_eq!(parse(&json).expect("a key"), bytes, "{json}");
            assert_eq!(
                decode(&bytes),
                serde_json::from_str::<Value>(&json).expect("JSON")
            );
            count += 1;
        }
        assert!(count >= 9, "{count} examples");
    }

    #[test]
    fn what_is_no_tuple_is_bytes() {
        for key in [
            &b""[..],
            b"key",
            b"\x02open",
            b"\x15",
            b"\x15\x00",
            b"\x0c\xff",
            b"\x02\xff\x00",
        ] {
            let shown = decode(key);
            assert_eq!(encode(&shown).expect("a key"), key, "{shown}");
        }
        assert_eq!(decode(b"key"), json!("0x6b6579"));
        let extremes = json!([i64::MIN, u64::MAX, { "bytes": "00ff" }, false]);
        assert_eq!(decode(&encode(&extremes).expect("a key")), extremes);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in [
            "orders",
            "0x1",
            "0xzz",
            "[1.5]",
            "[null]",
            "[[1]]",
            "{}",
            "[{\"bytes\": 1}]",
            "7",
        ] {
            parse(bad).expect_err(bad);
        }
    }
}
