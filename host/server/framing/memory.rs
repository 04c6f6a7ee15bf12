//! The memory of requests that are being read and served, over all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::peer::Client;
use crate::status::Failure;

/// So many bytes for all requests together, of which each client may hold as much as it leaves free: one alone
/// gets half of them, and however many fill their parts, another finds as much as each of them has. A request that
/// came whole with its last frame is not counted: what bounds such requests is how many of them run and wait.
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

    /// Nothing yet, for a request of `client`; none has no part of its own.
    pub(in crate::server) fn hold(self: &Arc<Self>, client: Option<Arc<Client>>) -> Held {
        Held {
            memory: self.clone(),
            client,
            bytes: 0,
        }
    }
}

/// What one request holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<RequestMemory>,
    client: Option<Arc<Client>>,
    bytes: usize,
}

impl Held {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// If there is no room.
    pub(in crate::server) fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let add = |held: &AtomicUsize| held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let held = add(&self.memory.held);
        let own = self.client.as_ref().map_or(0, |client| add(&client.requests));
        if held.saturating_add(own) > self.memory.most {
            self.give_back(bytes);
            return Err(Failure::RequestMemoryFull);
        }
        self.bytes += bytes;
        Ok(())
    }

    fn give_back(&self, bytes: usize) {
        self.memory.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(client) = &self.client {
            client.requests.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::peer::Clients;
    use super::*;

    #[test]
    fn room_is_shared_and_given_back() {
        let memory = RequestMemory::new(10);
        let (mut first, mut second) = (memory.hold(None), memory.hold(None));
        first.grow(6).expect("room");
        assert_eq!(second.grow(5), Err(Failure::RequestMemoryFull));
        second.grow(4).expect("what was refused takes no room");
        drop(first);
        second.grow(6).expect("room again");
        drop(second);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn a_client_holds_no_more_than_it_leaves_free() {
        let clients = Clients::new(10);
        let client = |address: [u8; 4]| Some(clients.at(address.into()));
        let memory = RequestMemory::new(100);
        // On however many connections it comes.
        let greedy: Vec<_> = (0..100)
            .map(|_| memory.hold(client([192, 0, 2, 1])))
            .map(|mut held| held.grow(1).map(|()| held))
            .collect();
        assert_eq!(greedy.iter().filter(|held| held.is_ok()).count(), 50);
        let mut honest = memory.hold(client([192, 0, 2, 2]));
        honest.grow(25).expect("half of what is left");
        assert_eq!(honest.grow(1), Err(Failure::RequestMemoryFull));
        drop(greedy);
        honest.grow(25).expect("half of all again");
        drop(honest);
        assert_eq!(memory.held.load(Ordering::Relaxed), 0);
    }
}
