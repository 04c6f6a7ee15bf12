//! A plugin that its developer's tests run: a fake host of theirs answers what it imports, in the place of the
//! capabilities.
//!
//! No configuration leads here. The sandbox is as always.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rand::TryRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmtime_wasi::HostWallClock;

/// Answers imports.
pub trait FakeHost: Send + Sync {
    /// Calls a function, such as `store.get`, with an encoded tuple of arguments, and waits for its encoded
    /// answer. Guests have no other way to be told that it failed than to be gone, with the whole process.
    fn call(&self, function: &str, arguments: Vec<u8>) -> Vec<u8>;

    /// An answer cannot be read: the process ends.
    fn give_up(&self, why: &str) -> !;
}

/// The tests' fake host.
#[derive(Clone)]
pub struct UnderTest(Arc<dyn FakeHost>);

impl UnderTest {
    /// Of a plugin whose imports `fake` answers.
    pub fn new(fake: impl FakeHost + 'static) -> Self {
        Self(Arc::new(fake))
    }

    /// Has an import answered.
    pub(super) fn ask<A: Serialize, T: DeserializeOwned>(&self, function: &str, arguments: &A) -> T {
        let asked = postcard::to_allocvec(arguments);
        let answered = asked.and_then(|arguments| postcard::from_bytes(&self.0.call(function, arguments)));
        answered.unwrap_or_else(|error| self.0.give_up(&format!("{function}: {error}")))
    }

    /// The tests' clock, since the Unix epoch.
    pub(super) fn since_epoch(&self) -> Duration {
        Duration::from_nanos(self.ask("clock.now", &()))
    }

    /// From the tests' seed.
    pub(super) fn random_bytes(&self, bytes: usize) -> Vec<u8> {
        self.ask("random.fill", &(bytes as u64,))
    }

    /// From the tests' seed.
    pub(super) fn random_u64(&self) -> u64 {
        let bytes = self.random_bytes(8);
        u64::from_le_bytes(bytes.try_into().unwrap_or_default())
    }
}

impl HostWallClock for UnderTest {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.since_epoch()
    }
}

impl TryRng for UnderTest {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.random_u64() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.random_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let random = self.random_bytes(bytes.len());
        for (byte, random) in bytes.iter_mut().zip(random) {
            *byte = random;
        }
        Ok(())
    }
}
