//! Hexadecimal text.

/// Digits for names that people read and type.
pub const UPPER: &[u8; 16] = b"0123456789ABCDEF";
/// Digits for opaque text.
pub const LOWER: &[u8; 16] = b"0123456789abcdef";

/// Appends two of `digits` per byte.
pub fn push(text: &mut String, bytes: &[u8], digits: &[u8; 16]) {
    for byte in bytes {
        text.push(char::from(digits[usize::from(byte >> 4)]));
        text.push(char::from(digits[usize::from(byte & 0xf)]));
    }
}

/// The bytes that [`push`] wrote with [`LOWER`]; `None` for any other text.
pub fn parse(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

fn digit(text: u8) -> Option<u8> {
    match text {
        b'0'..=b'9' => Some(text - b'0'),
        b'a'..=b'f' => Some(text - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut text = String::new();
        push(&mut text, &bytes, LOWER);
        assert_eq!(parse(&text), Some(bytes));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["0", "0g", "AB", " 00", "é", "00 "] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse(""), Some(vec![]));
    }
}
