//! Log lines that callers can provoke at will, kept to a rate.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lines of one kind in one second.
const LINES_PER_SECOND: u32 = 10;

/// Lets so many lines of each kind through in each second, and counts the others. `K` must have a bounded
/// number of values, because each that occurs is remembered.
#[derive(Debug)]
pub struct Throttle<K> {
    kinds: Mutex<HashMap<K, Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    written: u32,
    suppressed: u64,
}

impl<K> Default for Throttle<K> {
    fn default() -> Self {
        Self {
            kinds: Mutex::default(),
        }
    }
}

impl<K: std::hash::Hash + Eq> Throttle<K> {
    /// Whether a line may be written at `now`; if so, how many of its kind were not since the last one.
    pub fn admit(&self, kind: K, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock();
        let window = kinds.entry(kind).or_insert(Window {
            began: now,
            written: 0,
            suppressed: 0,
        });
        if now.duration_since(window.began) >= Duration::from_secs(1) {
            window.began = now;
            window.written = 0;
        }
        if window.written == LINES_PER_SECOND {
            window.suppressed += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_rate_and_tells_what_was_left_out() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(throttle.admit("a", start), Some(0));
        }
        assert_eq!(throttle.admit("a", start), None);
        assert_eq!(throttle.admit("a", start + Duration::from_millis(999)), None);
        assert_eq!(throttle.admit("b", start), Some(0));
        assert_eq!(throttle.admit("a", start + Duration::from_secs(1)), Some(2));
        assert_eq!(throttle.admit("a", start + Duration::from_secs(1)), Some(0));
    }
}
