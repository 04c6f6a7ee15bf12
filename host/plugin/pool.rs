//! Sandboxes of `isolation = "reuse"`, waiting for their next call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::instance::Instance;

/// When a sandbox is retired, from `[plugins.NAME]`. Besides these, any trap, interrupt or unfinished call
/// ends it, because such a sandbox is never put back.
#[derive(Debug, Clone, Copy)]
pub struct ReusePolicy {
    /// Calls it serves.
    pub max_calls: u32,
    /// How old it becomes.
    pub max_age: Duration,
    /// Linear memory it may hold while idle, in bytes: guests' allocators never give memory back.
    pub max_idle_memory: usize,
}

/// A sandbox and what it has been through.
pub struct Reusable {
    instance: Instance,
    born: Instant,
    calls: u32,
}

struct Idle {
    sandbox: Reusable,
    /// Idle sandboxes hold the engine's slots; the permits of all pools together are bounded.
    _slot: OwnedSemaphorePermit,
}

/// The idle sandboxes of one generation, last used first, so that the rest can age out.
pub struct Pool {
    policy: ReusePolicy,
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

impl Reusable {
    /// A sandbox that has served nothing yet.
    pub fn fresh(instance: Instance) -> Self {
        Self {
            instance,
            born: Instant::now(),
            calls: 0,
        }
    }

    /// The sandbox itself.
    pub fn instance(&mut self) -> &mut Instance {
        &mut self.instance
    }
}

impl Pool {
    /// `slots` is shared by all pools of the host.
    pub fn new(policy: ReusePolicy, slots: Arc<Semaphore>) -> Self {
        Self {
            policy,
            slots,
            idle: Mutex::default(),
        }
    }

    /// A sandbox young enough to serve, if one is idle.
    pub fn take(&self) -> Option<Reusable> {
        let (sandbox, expired) = {
            let mut idle = self.idle.lock();
            // The last is the one used last; those below it were idle for longer but need not be older.
            let mut expired = Vec::new();
            let sandbox = loop {
                match idle.pop() {
                    Some(Idle { sandbox, .. }) if sandbox.born.elapsed() < self.policy.max_age => {
                        break Some(sandbox);
                    }
                    Some(old) => expired.push(old),
                    None => break None,
                }
            };
            (sandbox, expired)
        };
        // Outside the lock: dropping a sandbox gives its memory back to the engine.
        drop(expired);
        sandbox
    }

    /// How many wait.
    pub fn idle(&self) -> usize {
        self.idle.lock().len()
    }

    /// Puts a sandbox back after a call that it served to its end, or retires it.
    pub fn put(&self, mut sandbox: Reusable) {
        sandbox.calls += 1;
        let fit = sandbox.calls < self.policy.max_calls
            && sandbox.born.elapsed() < self.policy.max_age
            && sandbox.instance.memory_bytes() <= self.policy.max_idle_memory;
        if !fit {
            return;
        }
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            self.idle.lock().push(Idle { sandbox, _slot: slot });
        }
    }
}
