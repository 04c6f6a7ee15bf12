//! What is wrong with a request, field by field.

/// Bytes the listed violations may take, encoded.
///
/// A stock client drops an answer whose trailers exceed 8 KiB. The list travels as base64 (4 bytes for 3),
/// so 4 KiB of it become 5.4 KiB and leave the rest to the status message and other metadata.
const MAX_LISTED_BYTES: usize = 4096;

/// What protobuf adds to each violation: three tags and three lengths, at most 2 bytes per length.
const ENCODING_OVERHEAD: usize = 9;

/// One rule that one field of the request breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field in the request, such as `items[3].price`.
    pub field: String,
    /// What the field must be. Never quotes what the client sent.
    pub description: String,
}

/// Every violation of a request, counted to the last, listed as far as an answer can carry them.
#[derive(Debug, Default)]
pub struct Violations {
    listed: Vec<Violation>,
    listed_bytes: usize,
    count: usize,
}

impl Violations {
    /// Adds a violation. `field` is only called while the list has room.
    pub fn add(&mut self, field: impl FnOnce() -> String, description: &str) {
        self.count += 1;
        if self.count > self.listed.len() + 1 {
            return; // Already cut: a shorter one must not slip in behind a longer one that was left out.
        }
        let field = field();
        let bytes = field.len() + description.len() + ENCODING_OVERHEAD;
        if self.listed_bytes + bytes <= MAX_LISTED_BYTES {
            self.listed_bytes += bytes;
            self.listed.push(Violation {
                field,
                description: description.to_owned(),
            });
        }
    }

    /// `value` if nothing is wrong, else all that is.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.count == 0 { Ok(value) } else { Err(self) }
    }

    /// One sentence for a person who does not see the list.
    pub fn summary(&self) -> String {
        let mut text = match self.listed.first() {
            Some(first) => format!("{}: {}", first.field, first.description),
            None => format!("{} violations", self.count),
        };
        match self.count {
            0 | 1 => {}
            2 => text.push_str("; and 1 more violation"),
            count => text.push_str(&format!("; and {} more violations", count - 1)),
        }
        if self.is_cut() {
            text.push_str(&format!(", of which the first {} are listed", self.listed.len()));
        }
        text
    }

    /// The list for the answer. A list that was cut ends with an entry that says so.
    pub fn into_list(mut self) -> Vec<Violation> {
        if self.is_cut() {
            let left_out = self.count - self.listed.len();
            self.listed.push(Violation {
                // Only the lines of an order can be numerous enough to be cut.
                field: "items".to_owned(),
                description: format!("{left_out} more violations are not listed"),
            });
        }
        self.listed
    }

    fn is_cut(&self) -> bool {
        self.count > self.listed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(count: usize) -> Violations {
        let mut violations = Violations::default();
        for index in 0..count {
            violations.add(|| format!("items[{index}].sku"), "must not be empty");
        }
        violations
    }

    #[test]
    fn nothing_wrong_gives_the_value() {
        assert_eq!(Violations::default().or(7).expect("no violation"), 7);
    }

    #[test]
    fn a_short_list_is_complete_and_says_nothing_of_a_cut() {
        let violations = many(2).or(()).expect_err("two violations");
        assert_eq!(
            violations.summary(),
            "items[0].sku: must not be empty; and 1 more violation"
        );
        let fields: Vec<_> = violations
            .into_list()
            .into_iter()
            .map(|violation| violation.field)
            .collect();
        assert_eq!(fields, ["items[0].sku", "items[1].sku"]);
    }

    #[test]
    fn a_long_list_is_cut_in_order_and_says_so() {
        let violations = many(1000);
        assert!(
            violations
                .summary()
                .contains("999 more violations, of which the first ")
        );
        let list = violations.into_list();
        let (notice, listed) = list.split_last().expect("not empty");
        assert_eq!(
            notice.description,
            format!("{} more violations are not listed", 1000 - listed.len())
        );
        assert!(listed.len() > 50);
        for (index, violation) in listed.iter().enumerate() {
            assert_eq!(violation.field, format!("items[{index}].sku"));
        }
    }

    #[test]
    fn nothing_is_listed_after_the_first_that_was_left_out() {
        let mut violations = Violations::default();
        violations.add(|| "x".repeat(MAX_LISTED_BYTES), "too long to list");
        violations.add(|| "y".to_owned(), "short");
        let list = violations.into_list();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].description, "2 more violations are not listed");
    }
}
