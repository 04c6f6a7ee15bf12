//! Idle sandboxes: renewed ones, in which nothing is left of any call, and with `isolation = "reuse"` those that
//! are as their last call left them.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::instance::Instance;

/// When a sandbox is retired. Besides these, any trap, interrupt or unfinished call ends it, because such a sandbox
/// is never put back.
#[derive(Debug, Clone, Copy)]
pub struct ReusePolicy {
    /// Whether it is made as new after each call, or else retired.
    pub renewed: bool,
    /// Calls it serves.
    pub max_calls: u32,
    /// How old it becomes.
    pub max_age: Duration,
    /// Linear memory it may hold while idle, in bytes: guests' allocators never give memory back.
    pub max_idle_memory: usize,
}

impl ReusePolicy {
    /// Of sandboxes that are made as new. Nothing is known to build up in them; these bounds are for what is not
    /// known.
    pub const RENEWED: Self = Self {
        renewed: true,
        max_calls: 10_000,
        max_age: Duration::from_secs(600),
        max_idle_memory: usize::MAX,
    };
}

/// A sandbox and what it has been through.
pub struct Reusable {
    instance: Instance,
    born: Instant,
    calls: u32,
}

struct Idle {
    sandbox: Reusable,
    slot: OwnedSemaphorePermit,
}

/// Idle sandboxes of one generation, the one used last at the end.
type Shelf = Mutex<VecDeque<Idle>>;

/// Idle sandboxes hold slots of the engine, of which there is a number for all pools together.
pub struct IdleSlots {
    slots: Arc<Semaphore>,
    shelves: Mutex<Shelves>,
}

#[derive(Default)]
struct Shelves {
    of_pools: Vec<Weak<Shelf>>,
    /// Where the next search begins.
    next: usize,
}

/// How many pools are asked for a slot when none is free. A pool whose plugin is called often asks often.
const POOLS_ASKED: usize = 8;

/// The idle sandboxes of one generation, last used first, so that the rest can age out.
pub struct Pool {
    policy: ReusePolicy,
    slots: Arc<IdleSlots>,
    idle: Arc<Shelf>,
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

impl IdleSlots {
    /// For so many sandboxes.
    pub fn new(slots: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            shelves: Mutex::default(),
        }
    }

    fn add(&self, shelf: &Arc<Shelf>) {
        let of_pools = &mut self.shelves.lock().of_pools;
        of_pools.retain(|shelf| shelf.strong_count() > 0);
        of_pools.push(Arc::downgrade(shelf));
    }

    /// A free slot, or that of a sandbox which another pool has not used for longest.
    fn take(&self, asking: &Arc<Shelf>) -> Option<OwnedSemaphorePermit> {
        if let Ok(free) = self.slots.clone().try_acquire_owned() {
            return Some(free);
        }
        let evicted = {
            let shelves = &mut *self.shelves.lock();
            (0..POOLS_ASKED.min(shelves.of_pools.len())).find_map(|_| {
                shelves.next = (shelves.next + 1) % shelves.of_pools.len();
                let shelf = shelves.of_pools[shelves.next].upgrade()?;
                let other = !Arc::ptr_eq(&shelf, asking);
                other.then(|| shelf.lock().pop_front()).flatten()
            })
        };
        // Outside the locks: dropping a sandbox gives its memory back to the engine.
        let Idle { sandbox, slot } = evicted?;
        drop(sandbox);
        Some(slot)
    }
}

impl Pool {
    /// An empty one.
    pub fn new(policy: ReusePolicy, slots: Arc<IdleSlots>) -> Self {
        let idle = Arc::default();
        slots.add(&idle);
        Self { policy, slots, idle }
    }

    /// A sandbox young enough to serve, if one is idle.
    pub fn take(&self) -> Option<Reusable> {
        let (sandbox, expired) = {
            let mut idle = self.idle.lock();
            // The last is the one used last; those below it were idle for longer but need not be older.
            let mut expired = Vec::new();
            let sandbox = loop {
                match idle.pop_back() {
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
        let policy = &self.policy;
        let fit = sandbox.calls < policy.max_calls
            && sandbox.born.elapsed() < policy.max_age
            && sandbox.instance.memory_bytes() <= policy.max_idle_memory
            // It could not be made smaller, and is not worth another's slot.
            && !(policy.renewed && sandbox.instance.memory_growths() > 0);
        if !fit {
            return;
        }
        let Some(slot) = self.slots.take(&self.idle) else {
            return;
        };
        if !policy.renewed || sandbox.instance.renew() {
            self.idle.lock().push_back(Idle { sandbox, slot });
        }
    }
}
