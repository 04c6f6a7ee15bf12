//! Text that cannot outgrow a bound, whatever is written to it.

use std::fmt::{self, Write};

const CUT: &str = "…";

/// A string that takes at most `limit` bytes and ends in `…` when something was cut.
pub(crate) struct Bounded {
    text: String,
    limit: usize,
    full: bool,
}

impl Bounded {
    pub(crate) fn new(limit: usize) -> Bounded {
        Bounded {
            text: String::new(),
            limit,
            full: false,
        }
    }

    pub(crate) fn push(&mut self, text: fmt::Arguments<'_>) {
        // A `Display` that fails leaves what it wrote so far.
        let _ = self.write_fmt(text);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn into_string(self) -> String {
        self.text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.full {
            // Stops a `Display` of endless output.
            return Err(fmt::Error);
        }
        let room = self.limit - self.text.len();
        if text.len() <= room {
            self.text.push_str(text);
            return Ok(());
        }
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
        let end = self
            .text
            .floor_char_boundary(self.limit.saturating_sub(CUT.len()));
        self.text.truncate(end);
        self.text.push_str(CUT);
        self.full = true;
        Err(fmt::Error)
    }
}
