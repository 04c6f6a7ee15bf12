use super::instrument::Counter;
use crate::status::REASONS;

/// A counter for each reason of a status that the host makes.
#[derive(Debug)]
pub struct Reasons(Box<[Counter]>);

impl Default for Reasons {
    fn default() -> Self {
        Self(REASONS.iter().map(|_| Counter::default()).collect())
    }
}

impl Reasons {
    /// Counts one of `reason`, which is one of [`REASONS`].
    pub fn count(&self, reason: &str) {
        let index = REASONS.iter().position(|known| *known == reason);
        if let Some(counter) = index.and_then(|index| self.0.get(index)) {
            counter.increment();
        }
    }

    /// Those that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(Counter::value);
        REASONS
            .iter()
            .copied()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
    }
}
