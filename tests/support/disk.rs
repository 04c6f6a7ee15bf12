//! A disk that can be told to fail, or to stand still.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use parking_lot::{Condvar, Mutex};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

/// What the disk is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    fail_sync: Arc<AtomicBool>,
    fail_write: Arc<AtomicBool>,
    fail_read: Arc<AtomicBool>,
    fsyncs: Arc<Gate>,
    blocking_reads: Arc<Gate>,
}

/// Where operations wait while it is shut.
#[derive(Debug, Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicBool,
}

impl Gate {
    fn shut(self: &Arc<Self>) -> Stalled {
        *self.shut.lock() = true;
        Stalled(self.clone())
    }

    fn pass(&self) {
        let mut shut = self.shut.lock();
        if *shut {
            self.waiting.store(true, Ordering::SeqCst);
            self.opened.wait_while(&mut shut, |shut| *shut);
            self.waiting.store(false, Ordering::SeqCst);
        }
    }
}

impl Faults {
    pub(crate) fn disk(&self) -> Disk {
        Disk {
            memory: Arc::new(InMemoryBackend::new()),
            faults: self.clone(),
        }
    }

    /// Works from now on. What was written is there.
    pub(crate) fn mend(&self) {
        for flag in [&self.fail_sync, &self.fail_write, &self.fail_read] {
            flag.store(false, Ordering::SeqCst);
        }
    }

    pub(crate) fn fail_sync(&self) {
        self.fail_sync.store(true, Ordering::SeqCst);
    }

    pub(crate) fn fail_write(&self) {
        self.fail_write.store(true, Ordering::SeqCst);
    }

    pub(crate) fn fail_read(&self) {
        self.fail_read.store(true, Ordering::SeqCst);
    }

    /// Makes every fsync wait, until the guard is dropped.
    pub(crate) fn stall(&self) -> Stalled {
        self.fsyncs.shut()
    }

    /// Makes every read wait that is on a thread of tokio's, until the guard is dropped. Where the test's own
    /// thread is the only one of its runtime, these are the threads for what blocks.
    pub(crate) fn stall_blocking_reads(&self) -> Stalled {
        self.blocking_reads.shut()
    }
}

/// Operations of a kind wait until it is dropped.
#[derive(Debug)]
pub(crate) struct Stalled(Arc<Gate>);

impl Stalled {
    /// Whether one has begun and does not end.
    pub(crate) fn holds(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst)
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        *self.0.shut.lock() = false;
        self.0.opened.notify_all();
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Disk {
    memory: Arc<InMemoryBackend>,
    faults: Faults,
}

fn failing(flag: &AtomicBool) -> std::io::Result<()> {
    match flag.load(Ordering::SeqCst) {
        true => Err(std::io::Error::other("the disk is broken")),
        false => Ok(()),
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let is_tokios = thread::current()
            .name()
            .is_some_and(|name| name.starts_with("tokio-"));
        if is_tokios {
            self.faults.blocking_reads.pass();
        }
        failing(&self.faults.fail_read)?;
        self.memory.read(offset, out)
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.memory.set_len(length)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.faults.fsyncs.pass();
        failing(&self.faults.fail_sync)?;
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        failing(&self.faults.fail_write)?;
        self.memory.write(offset, data)
    }
}
