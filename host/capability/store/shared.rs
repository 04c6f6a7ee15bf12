use std::collections::BTreeMap;
use std::fmt;
use std::hash::RandomState;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Health;
use super::backend::ReadError;
use super::metrics::StoreMetrics;
use super::options::{Options, PluginOptions};
use super::reads::ReadThreads;
use super::snapshot::Snapshot;
use crate::capability::{Error, Namespace};

/// What transactions, handles and the committer share.
pub(super) struct Shared {
    pub(super) options: Options,
    plugins: BTreeMap<Namespace, Arc<PluginOptions>>,
    /// Of those that `plugins` lacks.
    other_plugins: Arc<PluginOptions>,
    /// The state after the last batch; none while the store is closed or has failed. Replaced only under the
    /// lock of `health`, so that a store that failed stays so until it is opened anew.
    pub(super) snapshot: ArcSwapOption<Snapshot>,
    /// The state that is on the disk: the same but for relaxed commits. What leaves the host is read from it.
    pub(super) durable: ArcSwapOption<Snapshot>,
    pub(super) health: Mutex<Health>,
    /// Of what transactions read and write.
    pub(super) hashing: RandomState,
    /// Bytes of the commits in the queue.
    pub(super) queued_bytes: AtomicUsize,
    pub(super) read_threads: ReadThreads,
    pub(super) metrics: StoreMetrics,
    /// What it is in, for messages.
    pub(super) path: PathBuf,
    /// The same, if it is a file.
    pub(super) file: Option<PathBuf>,
    /// The last commit that published events. Also notified when the store ends or is opened anew.
    pub(super) published: watch::Sender<u64>,
    /// The last commit that scheduled calls. Notified as `published` is.
    pub(super) scheduled: watch::Sender<u64>,
}

impl Shared {
    /// Of a store in `path`, of which `sequence` was the last commit. Nothing can be read from it until its
    /// committer [publishes](Self::publish) a snapshot.
    pub(super) fn new(options: Options, sequence: u64, path: PathBuf, file: Option<PathBuf>) -> Self {
        let plugins = options.plugins.iter();
        Self {
            plugins: plugins
                .map(|(name, plugin)| (name.clone(), Arc::new(plugin.clone())))
                .collect(),
            other_plugins: Arc::new(PluginOptions {
                bounds: options.bounds.clone(),
                ..PluginOptions::default()
            }),
            read_threads: ReadThreads::new(options.read_threads),
            options,
            snapshot: ArcSwapOption::empty(),
            durable: ArcSwapOption::empty(),
            health: Mutex::new(Health::Open),
            hashing: RandomState::new(),
            queued_bytes: AtomicUsize::new(0),
            metrics: StoreMetrics::default(),
            published: watch::Sender::new(sequence),
            scheduled: watch::Sender::new(sequence),
            path,
            file,
        }
    }

    pub(super) fn plugin(&self, name: &Namespace) -> &Arc<PluginOptions> {
        self.plugins.get(name).unwrap_or(&self.other_plugins)
    }

    pub(super) fn check_open(&self) -> Result<(), Error> {
        match *self.snapshot.load() {
            Some(_) => Ok(()),
            None => Err(unavailable()),
        }
    }

    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        self.snapshot.load_full().ok_or_else(unavailable)
    }

    pub(super) fn durable_snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        self.durable.load_full().ok_or_else(unavailable)
    }

    pub(super) fn publish(&self, snapshot: Arc<Snapshot>, durable: bool) {
        let health = self.health.lock();
        if *health == Health::Open {
            if durable {
                self.durable.store(Some(snapshot.clone()));
            }
            self.snapshot.store(Some(snapshot));
        }
    }

    /// The latest snapshot is on the disk.
    pub(super) fn all_durable(&self) {
        let _health = self.health.lock();
        self.durable.store(self.snapshot.load_full());
    }

    pub(super) fn has_failed(&self) -> bool {
        self.snapshot.load().is_none() && matches!(*self.health.lock(), Health::Failed { .. })
    }

    /// Ends a failure. A store that was closed meanwhile stays so.
    pub(super) fn recovered(&self) -> bool {
        let mut health = self.health.lock();
        if matches!(*health, Health::Failed { .. }) {
            *health = Health::Open;
        }
        *health == Health::Open
    }

    pub(super) fn close(&self) {
        self.end(Health::Closed);
    }

    pub(super) fn fail(&self, cause: &dyn fmt::Display) {
        let cause = cause.to_string();
        if self.end(Health::Failed { cause: cause.clone() }) {
            tracing::error!(
                cause,
                "the store has failed and refuses everything until it is opened anew"
            );
        }
    }

    /// The first end counts; true if this was it.
    fn end(&self, end: Health) -> bool {
        let mut health = self.health.lock();
        if *health != Health::Open {
            return false;
        }
        *health = end;
        self.snapshot.store(None);
        self.durable.store(None);
        self.wake();
        true
    }

    /// Has those look that wait for what becomes durable.
    pub(super) fn wake(&self) {
        self.published.send_modify(|_| ());
        self.scheduled.send_modify(|_| ());
    }

    pub(super) fn read_failed(&self, error: &ReadError) -> Error {
        // Closing the database ends the reads of transactions that are still under way.
        if let ReadError::Failed(cause) = error {
            self.fail(cause);
        }
        unavailable()
    }
}

/// Of whatever is asked of a store that is closed or has failed.
pub(super) fn unavailable() -> Error {
    Error::unavailable("the store is not available")
}
