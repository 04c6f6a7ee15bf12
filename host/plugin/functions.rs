//! Functions that were compiled before, so that of a new version of a plugin only what changed is compiled.
//!
//! The compiler names a function by the SHA-256 of all that its code depends on: its body, what it refers to, and
//! the compiler's settings. So plugins share what they have in common, and cannot pass off code of theirs as
//! that of another one. It is kept in memory alone.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use wasmtime::CacheStore;

use crate::observe::metrics::thread_cpu_time;

/// Of compiled functions with their names. A plugin of 200 kB has about 600 of them, with 0.6 MB.
const MAX_BYTES: u64 = 32 << 20;

/// The usual function with its name, for a first guess at how many there will be.
const USUAL_BYTES: u64 = 1 << 10;

thread_local! {
    /// The processor time of this thread when it last asked for a function.
    static ASKED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The functions used last, within `MAX_BYTES`.
pub(super) struct Functions {
    kept: Cache<Bytes, Bytes, Length>,
    /// By threads that compile, between one function and the next.
    nanos_used: AtomicU64,
}

#[derive(Clone)]
struct Length;

impl Weighter<Bytes, Bytes> for Length {
    fn weight(&self, name: &Bytes, code: &Bytes) -> u64 {
        (name.len() + code.len()) as u64
    }
}

impl Functions {
    /// None yet.
    pub(super) fn new() -> Self {
        Self::within(MAX_BYTES)
    }

    /// The processor time in which functions were found or compiled, over all threads that do so.
    pub(super) fn time_used(&self) -> Duration {
        Duration::from_nanos(self.nanos_used.load(Ordering::Relaxed))
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.kept.len()
    }

    fn within(bytes: u64) -> Self {
        Self {
            kept: Cache::with_weighter((bytes / USUAL_BYTES) as usize, bytes, Length),
            nanos_used: AtomicU64::new(0),
        }
    }
}

impl CacheStore for Functions {
    fn get(&self, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        let now = thread_cpu_time();
        let used = now.saturating_sub(ASKED.replace(now));
        self.nanos_used
            .fetch_add(used.as_nanos() as u64, Ordering::Relaxed);
        let code = self.kept.get(name)?;
        Some(Cow::Owned(code.into()))
    }

    fn insert(&self, name: &[u8], code: Vec<u8>) -> bool {
        self.kept.insert(Bytes::copy_from_slice(name), code.into());
        true
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} functions of {} bytes", self.kept.len(), self.kept.weight())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_their_names_and_bounded_in_all() {
        const BOUND: u64 = 64 << 10;
        let functions = Functions::within(BOUND);
        for number in 0..1000u32 {
            let name = number.to_le_bytes();
            assert!(functions.get(&name).is_none());
            functions.insert(&name, vec![number as u8; 1000]);
            assert!(functions.kept.weight() <= BOUND);
        }
        let kept = (0..1000u32).filter_map(|number| Some((number, functions.get(&number.to_le_bytes())?)));
        let kept: Vec<_> = kept.collect();
        assert!(kept.len() > 20, "{functions:?}");
        for (number, code) in kept {
            assert_eq!(code, vec![number as u8; 1000]);
        }
    }

    #[test]
    fn a_function_larger_than_the_bound_is_not_kept() {
        let functions = Functions::within(1000);
        functions.insert(b"large", vec![0; 1001]);
        assert!(functions.get(b"large").is_none());
    }
}
