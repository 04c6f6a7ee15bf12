//! Makes the calls that were left for later when their time has come: timers, and events that an operator
//! wants tried again.
//!
//! Scheduling is part of a transaction: see [`Transaction::schedule`](super::store::Transaction::schedule).
//! What is here reads only what is durable. A call that fails is made again, after pauses that are kept in
//! the store, until it succeeds or is given up as a dead letter; that it has succeeded commits with its
//! writes.
//!
//! Times are those of the wall clock. When it is set forward, what is due by it is made within
//! [a second](MAX_SLEEP); when it is set back, what was not due yet waits accordingly.

mod counters;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::caller::{Backoff, Caller, HostCall, NotMade};
use super::store::{CallId, DeferredCall, DeferredCalls, Errand, Failed, Store};
use super::{Error, Namespace};

pub use counters::{TimerCounts, TimerMetrics};

/// The longest sleep while anything is pending: the clock may be set meanwhile.
pub const MAX_SLEEP: Duration = Duration::from_secs(1);

/// How timers are paced.
#[derive(Debug, Clone)]
pub struct TimerOptions {
    /// Calls of one plugin at once. Default 16.
    pub max_concurrent: usize,
    /// How often a call is made before it is given up. Default 10.
    pub max_attempts: u32,
    /// How long a call may take, where the operator set no deadline for its method. Default 30 s.
    pub timeout: Duration,
    /// Between attempts. Default 200 ms to 30 s.
    pub backoff: Backoff,
}

impl Default for TimerOptions {
    fn default() -> Self {
        Self {
            max_concurrent: 16,
            max_attempts: 10,
            timeout: Duration::from_secs(30),
            backoff: Backoff {
                min: Duration::from_millis(200),
                max: Duration::from_secs(30),
            },
        }
    }
}

/// What is tried while the host cannot make a call at all.
const NOT_NOW: Backoff = Backoff {
    min: Duration::from_millis(50),
    max: Duration::from_secs(1),
};

/// Makes deferred calls until it is stopped or the store closes. While the store has failed it makes none.
#[derive(Debug)]
pub struct Timers {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    metrics: Arc<TimerMetrics>,
}

impl Timers {
    /// Begins to make what is due.
    pub fn start(store: &Store, caller: Arc<dyn Caller>, options: TimerOptions) -> Self {
        let (stop, stopped) = watch::channel(false);
        let metrics = Arc::new(TimerMetrics::default());
        let worker = Worker {
            calls: store.deferred(),
            caller,
            options,
            stopped,
            metrics: metrics.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(Scheduler::new(worker).run());
        Self { tasks, stop, metrics }
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<TimerMetrics> {
        self.metrics.clone()
    }

    /// Makes no further call. What is left is made after the next start.
    pub fn close(&self) {
        self.stop.send_replace(true);
    }

    /// The same, and waits for the calls under way.
    pub async fn stop(mut self) {
        self.close();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Decides what is made when.
struct Scheduler {
    worker: Worker,
    running: JoinSet<(Namespace, CallId)>,
    /// By plugin, so that one that has much to do takes no other's turn.
    in_flight: HashMap<Namespace, HashSet<CallId>>,
}

impl Scheduler {
    fn new(worker: Worker) -> Self {
        Self {
            worker,
            running: JoinSet::new(),
            in_flight: HashMap::new(),
        }
    }

    async fn run(mut self) {
        let mut scheduled = self.worker.calls.watch();
        let mut stopped = self.worker.stopped.clone();
        while !*stopped.borrow_and_update() {
            scheduled.borrow_and_update();
            // A store that has failed may be opened anew, and says so.
            let next = self.begin_due().unwrap_or_default();
            if self.worker.calls.is_closed() {
                break;
            }
            let sleep = async {
                match next {
                    Some(wait) => tokio::time::sleep(wait.min(MAX_SLEEP)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = scheduled.changed() => {}
                () = sleep => {}
                _ = stopped.changed() => {}
                Some(ended) = self.running.join_next() => self.ended(ended),
            }
        }
        while let Some(ended) = self.running.join_next().await {
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Result<(Namespace, CallId), tokio::task::JoinError>) {
        let Ok((plugin, id)) = ended else {
            // It panicked, and its place stays taken: better one call too few than one for ever again.
            return;
        };
        if let Some(calls) = self.in_flight.get_mut(&plugin) {
            calls.remove(&id);
            if calls.is_empty() {
                self.in_flight.remove(&plugin);
            }
        }
    }

    /// Begins what is due as far as there is room, and says how long until the next is; none if nothing is
    /// pending but what is waited for anyway.
    fn begin_due(&mut self) -> Result<Option<Duration>, Error> {
        let now = SystemTime::now();
        let mut next: Option<Duration> = None;
        for plugin in self.worker.calls.pending().into_keys() {
            let most = self.worker.options.max_concurrent;
            let mut free = most - self.in_flight.get(&plugin).map_or(0, HashSet::len);
            // One more than can be begun, to know when it is due.
            for (due, id) in self.worker.calls.first(&plugin, most + 1)? {
                if self
                    .in_flight
                    .get(&plugin)
                    .is_some_and(|calls| calls.contains(&id))
                {
                    continue;
                }
                if let Ok(wait) = due.duration_since(now)
                    && !wait.is_zero()
                {
                    next = Some(next.map_or(wait, |next| next.min(wait)));
                    break;
                }
                if free == 0 {
                    break;
                }
                free -= 1;
                self.in_flight
                    .entry(plugin.clone())
                    .or_default()
                    .insert(id.clone());
                let (worker, plugin) = (self.worker.clone(), plugin.clone());
                self.running.spawn(async move {
                    worker.make(&plugin, &id).await;
                    (plugin, id)
                });
            }
        }
        Ok(next)
    }
}

/// Makes one call after the other.
#[derive(Clone)]
struct Worker {
    calls: DeferredCalls,
    caller: Arc<dyn Caller>,
    options: TimerOptions,
    stopped: watch::Receiver<bool>,
    metrics: Arc<TimerMetrics>,
}

impl Worker {
    /// Makes the call, and notes it if it fails.
    async fn make(mut self, plugin: &Namespace, id: &CallId) {
        let Ok(Some(call)) = self.calls.get(plugin, id) else {
            // Cancelled by a commit that may not be on the disk yet, so that it would be found again at once.
            self.pause(NOT_NOW.min).await;
            return;
        };
        let mut tries = 0;
        let error = loop {
            match self.caller.call(self.host_call(&call)).await {
                Ok(()) => return self.metrics.fired(plugin),
                Err(NotMade::Failed(error)) => break error,
                Err(NotMade::NotNow(error)) => {
                    tries += 1;
                    tracing::debug!(%plugin, %id, error, "a deferred call cannot be made yet");
                    if !self.pause(NOT_NOW.pause(tries)).await {
                        return;
                    }
                }
            }
        };
        self.metrics.failed(plugin);
        self.note(&call, &error).await;
    }

    async fn note(&mut self, call: &DeferredCall, error: &str) {
        let pause = self.options.backoff.pause(call.failures + 1);
        loop {
            let noted = self
                .calls
                .failed(call, error, self.options.max_attempts, pause)
                .await;
            match noted {
                Ok(Failed::Dead) => {
                    tracing::error!(
                        plugin = %call.plugin,
                        method = call.method,
                        id = %call.id,
                        error,
                        "a deferred call was given up; `mortise events list` has it"
                    );
                    return;
                }
                Ok(Failed::Postponed) => {
                    tracing::warn!(
                        plugin = %call.plugin,
                        method = call.method,
                        id = %call.id,
                        failures = call.failures + 1,
                        ?pause,
                        error,
                        "a deferred call failed; trying again"
                    );
                    return;
                }
                Ok(Failed::Gone) => return,
                // Else the same call would be made again at once.
                Err(_) if self.calls.get(&call.plugin, &call.id).is_ok() => {
                    if !self.pause(NOT_NOW.max).await {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// False if there is no more time.
    async fn pause(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            _ = self.stopped.wait_for(|stopped| *stopped) => false,
        }
    }

    fn host_call(&self, call: &DeferredCall) -> HostCall {
        HostCall {
            plugin: call.plugin.clone(),
            method: call.method.as_str().into(),
            request: call.request.clone(),
            event: call.event.clone().map(Arc::new),
            hops: call.hops,
            errand: Errand::Deferred(call.id.clone()),
            timeout: self.options.timeout,
        }
    }
}
