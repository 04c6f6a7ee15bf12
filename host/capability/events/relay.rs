use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Event, Position, Sink};
use crate::capability::Error;
use crate::capability::store::{CommitError, Outbox, Store};

/// How the relay paces itself.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// The most events handed to a sink at once. Default 256.
    pub max_batch_events: usize,
    /// Bytes of topics, keys and payloads after which a batch ends. Default 1 MiB.
    pub max_batch_bytes: usize,
    /// How long to wait after a first failure; doubled with each further one. Default 100 ms.
    pub min_backoff: Duration,
    /// The longest wait. Default 30 s.
    pub max_backoff: Duration,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            max_batch_events: 256,
            max_batch_bytes: 1 << 20,
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(30),
        }
    }
}

/// How a sink is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkStatus {
    /// The sink's name.
    pub name: Arc<str>,
    /// The last event it took.
    pub delivered: Position,
    /// Events it has taken since the start.
    pub taken: u64,
    /// Batches it did not take since the start.
    pub refused: u64,
    /// Failures since its last success.
    pub failures: u32,
    /// What went wrong last, while `failures` is not 0.
    pub last_error: Option<String>,
}

/// Why a relay cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// Sinks of one name would share one cursor, and each would miss what the other took.
    #[error("two event sinks are named {0:?}: each needs a name of its own")]
    SameName(String),
    /// The sinks could not be made known to the store.
    #[error("the sinks of events could not be attached to the store: {0}")]
    Attach(#[from] CommitError),
    /// The sinks' cursors could not be read.
    #[error("the cursors of the event sinks could not be read: {0}")]
    Cursor(#[from] Error),
}

/// Delivers durable events to the sinks, each in a task of its own, until it is stopped or the store closes.
#[derive(Debug)]
pub struct Relay {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    progress: Progress,
}

/// How a relay gets on. It can be asked for as long as anybody likes.
#[derive(Debug, Clone)]
pub struct Progress {
    statuses: Vec<Arc<Mutex<SinkStatus>>>,
    outbox: Outbox,
}

impl Relay {
    /// Starts delivery from where each sink's durable cursor stands. `sinks` are all the sinks there are: what
    /// only others have not acknowledged is dropped. Without any, events stay in the outbox until it is full.
    ///
    /// # Errors
    /// If two sinks have one name, or the store is not available.
    pub async fn start(
        store: &Store,
        sinks: Vec<Box<dyn Sink>>,
        options: RelayOptions,
    ) -> Result<Self, RelayError> {
        let outbox = store.outbox();
        let names: Vec<Arc<str>> = sinks.iter().map(|sink| sink.name().into()).collect();
        if let Some((_, twin)) = names
            .iter()
            .enumerate()
            .find(|(index, name)| names[..*index].contains(name))
        {
            return Err(RelayError::SameName(twin.to_string()));
        }
        outbox.attach(names.clone()).await?;
        let (stop, stopped) = watch::channel(false);
        let mut relay = Self {
            tasks: JoinSet::new(),
            stop,
            progress: Progress {
                statuses: Vec::new(),
                outbox: outbox.clone(),
            },
        };
        for (name, sink) in names.into_iter().zip(sinks) {
            let delivered = outbox.cursor(&name)?;
            let status = SinkStatus {
                name: name.clone(),
                delivered,
                taken: 0,
                refused: 0,
                failures: 0,
                last_error: None,
            };
            let status = Arc::new(Mutex::new(status));
            relay.progress.statuses.push(status.clone());
            let published = outbox.watch();
            let (outbox, options, stopped) = (outbox.clone(), options.clone(), stopped.clone());
            let worker = Worker {
                outbox,
                sink,
                name,
                options,
                status,
                stopped,
            };
            relay.tasks.spawn(worker.run(published, delivered));
        }
        Ok(relay)
    }

    /// How the sinks are doing, in the order in which they were given.
    pub fn status(&self) -> Vec<SinkStatus> {
        self.progress.status()
    }

    /// The same, for others.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Ends delivery, after the batches that the sinks are just taking. What is left stays in the outbox for
    /// the next start.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Progress {
    /// How the sinks are doing, in the order in which they were given.
    pub fn status(&self) -> Vec<SinkStatus> {
        self.statuses.iter().map(|status| status.lock().clone()).collect()
    }

    /// For how long the oldest event waits that `sink` has not taken: no time if there is none. None if the
    /// store cannot be read. Blocks on the disk.
    pub fn lag(&self, sink: &SinkStatus) -> Option<Duration> {
        let next = self.outbox.after(sink.delivered, 1, 1).ok()?;
        Some(next.first().map_or(Duration::ZERO, |event| {
            SystemTime::now().duration_since(event.time).unwrap_or_default()
        }))
    }
}

/// Feeds one sink.
struct Worker {
    outbox: Outbox,
    sink: Box<dyn Sink>,
    name: Arc<str>,
    options: RelayOptions,
    status: Arc<Mutex<SinkStatus>>,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    async fn run(mut self, mut published: watch::Receiver<u64>, mut delivered: Position) {
        while !*self.stopped.borrow() {
            published.borrow_and_update();
            let options = &self.options;
            let Ok(events) = self
                .outbox
                .after(delivered, options.max_batch_events, options.max_batch_bytes)
            else {
                // A store that has failed may be opened anew.
                if self.outbox.is_closed() {
                    return;
                }
                tokio::select! {
                    _ = published.changed() => {}
                    _ = self.stopped.changed() => return,
                }
                continue;
            };
            let Some(last) = events.last() else {
                tokio::select! {
                    _ = published.changed() => {}
                    _ = self.stopped.changed() => return,
                }
                continue;
            };
            let through = last.position;
            if !self.deliver(&events).await {
                return;
            }
            delivered = through;
            self.status.lock().delivered = delivered;
            if !self.acknowledge(delivered).await {
                return;
            }
        }
    }

    /// Tries until the sink has taken `events`; false if the relay was stopped meanwhile.
    async fn deliver(&mut self, events: &[Event]) -> bool {
        loop {
            match self.sink.deliver(events).await {
                Ok(()) => {
                    self.succeeded();
                    self.status.lock().taken += events.len() as u64;
                    return true;
                }
                Err(error) => {
                    self.status.lock().refused += 1;
                    if !self.failed(&error.to_string()).await {
                        return false;
                    }
                }
            }
        }
    }

    /// Tries until the cursor is written; false if the store or the relay ended meanwhile. Without it, the
    /// sink would get the same events again after a restart.
    async fn acknowledge(&mut self, through: Position) -> bool {
        loop {
            match self.outbox.advance(self.name.clone(), through).await {
                Ok(()) => {
                    self.succeeded();
                    return true;
                }
                Err(error) => {
                    if self.outbox.is_closed() || !self.failed(&error.to_string()).await {
                        return false;
                    }
                }
            }
        }
    }

    fn succeeded(&self) {
        let mut status = self.status.lock();
        status.failures = 0;
        status.last_error = None;
    }

    /// Waits before another attempt; false if the relay was stopped meanwhile.
    async fn failed(&mut self, error: &str) -> bool {
        let failures = {
            let mut status = self.status.lock();
            status.failures = status.failures.saturating_add(1);
            status.last_error = Some(error.to_owned());
            status.failures
        };
        let doubled = self
            .options
            .min_backoff
            .saturating_mul(1 << (failures - 1).min(30));
        let wait = doubled.min(self.options.max_backoff);
        tracing::warn!(
            sink = &*self.name,
            failures,
            ?wait,
            error,
            "events were not delivered; trying again"
        );
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            _ = self.stopped.changed() => false,
        }
    }
}
