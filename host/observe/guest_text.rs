//! Text that a guest chose, made fit for logs and metadata.

use std::fmt::Write as _;

/// `text` on one line: control characters escaped, at most `max_bytes` long, and marked when cut.
pub fn printable(text: &str, max_bytes: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max_bytes));
    for character in text.chars() {
        if out.len() + character.len_utf8() > max_bytes {
            out.push('…');
            break;
        }
        if is_plain(character) {
            out.push(character);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", character.escape_default());
        }
    }
    out
}

/// Neither a control character nor one that reorders or hides the text around it.
pub fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn text_stays_on_one_line_and_within_its_bound() {
        assert_eq!(printable("plain é", 100), "plain é");
        assert_eq!(printable("a\nb\x1b[31m", 100), "a\\nb\\u{1b}[31m");
        assert_eq!(printable("a\u{202e}b", 100), "a\\u{202e}b");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("ééé", 3), "é…");
    }
}
