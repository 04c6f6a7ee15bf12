//! The memory of requests that are being read and served, over all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::status::Failure;

/// So many bytes for all requests together. One that came whole with its last frame is not counted: what bounds
/// such requests is how many of them run and wait.
#[derive(Debug)]
pub struct RequestMemory {
    most: usize,
    held: AtomicUsize,
}

impl RequestMemory {
    /// Room for `most` bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            held: AtomicUsize::new(0),
        })
    }

    /// What all requests hold now.
    #[cfg(any(test, fuzzing))]
    pub(in crate::server) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Nothing yet.
    pub(in crate::server) fn hold(self: &Arc<Self>) -> Held {
        Held {
            memory: self.clone(),
            bytes: 0,
        }
    }
}

/// What one request holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<RequestMemory>,
    bytes: usize,
}

impl Held {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// If there is no room.
    pub(in crate::server) fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let held = self.memory.held.fetch_add(bytes, Ordering::Relaxed);
        if held.saturating_add(bytes) > self.memory.most {
            self.memory.held.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Failure::RequestMemoryFull);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.held.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_shared_and_given_back() {
        let memory = RequestMemory::new(10);
        let (mut first, mut second) = (memory.hold(), memory.hold());
        first.grow(6).expect("room");
        assert_eq!(second.grow(5), Err(Failure::RequestMemoryFull));
        second.grow(4).expect("what was refused takes no room");
        drop(first);
        second.grow(6).expect("room again");
        drop(second);
        assert_eq!(memory.held(), 0);
    }
}
