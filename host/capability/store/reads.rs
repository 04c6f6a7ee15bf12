//! Where reads go on that are long: a scan of many rows, or many keys at once.

use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

/// How much is read at once. What brings the bytes there is the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    /// Rows, or keys.
    pub(super) count: usize,
    pub(super) bytes: usize,
}

impl Most {
    /// On the thread that asks for it, which serves other calls as well. To go to another thread and back costs
    /// about as much as to read it.
    pub(super) const AT_ONCE: Self = Self {
        count: 128,
        bytes: 64 << 10,
    };

    pub(super) const ALL: Self = Self {
        count: usize::MAX,
        bytes: usize::MAX,
    };

    pub(super) fn is_reached(&self, count: usize, bytes: usize) -> bool {
        count >= self.count || bytes >= self.bytes
    }
}

/// Threads of the runtime for what blocks, as many as [`Options::read_threads`](super::Options::read_threads)
/// says.
pub(super) struct ReadThreads(Arc<Semaphore>);

impl ReadThreads {
    pub(super) fn new(threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(threads)))
    }

    /// Runs `read` when its turn comes, which is in the order of the calls. None if it panicked, or the runtime
    /// is being torn down. Dropping the future withdraws it; if it runs already, what it is given turns true.
    ///
    /// To be awaited within a runtime of tokio.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
    ) -> Option<T> {
        let thread = self.0.clone().acquire_owned().await.ok()?;
        let (answer, answered) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let read = read(&|| answer.is_closed());
            drop(thread);
            // Nobody waits for it if it was withdrawn in this moment.
            let _ = answer.send(read);
        });
        answered.await.ok()
    }
}
