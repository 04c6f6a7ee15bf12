use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::breaker::{Breaker, Change};
use super::exchange::{self, Broken};
use super::headers;
use super::metrics::CallMetrics;
use super::options::TargetOptions;
use super::status::Pushback;
use super::{Caller, Failed, Refusal, Reply, Request};
use crate::admission::{Gate, Inside, Queue};
use crate::deadline::{self, Deadline};
use crate::observe::printable;

/// Between two tries, doubled each time and then varied by up to a fifth.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection on which calls wait is probed when it has been silent for so long, and given up when the probe
/// is not answered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest block of headers or trailers that a target may answer with.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Of a cause in the log.
const MAX_CAUSE_BYTES: usize = 1024;

/// A service outside. All plugins that may call it share its connection, its bounds and its breaker.
#[derive(Debug)]
pub struct Target {
    name: String,
    options: TargetOptions,
    endpoint: Endpoint,
    /// Made at the first call, because that needs the runtime. It connects, and connects again, by itself.
    channel: OnceLock<Channel>,
    /// The one that serves: a first call may come from the threads of lower priority, and the connection must
    /// not stay there. None where nothing is served.
    runtime: Option<Handle>,
    turns: Arc<Gate>,
    queue: Queue,
    breaker: Breaker,
    /// By plugin: those that may call it, over all their generations.
    metrics: Mutex<BTreeMap<String, Arc<CallMetrics>>>,
}

/// Why a target cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// `ca_file` cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    CaFile {
        /// The file.
        file: std::path::PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// TLS cannot be set up with what the operator gave.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

impl Target {
    /// Reads `ca_file`; connects to nothing yet.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(name: &str, options: TargetOptions) -> Result<Self, TargetError> {
        Ok(Self {
            name: name.to_owned(),
            endpoint: endpoint(&options)?,
            channel: OnceLock::new(),
            runtime: Handle::try_current().ok(),
            turns: Gate::new(options.max_concurrent),
            queue: Queue::new(options.max_queued),
            breaker: Breaker::new(options.breaker_failures, options.breaker_open),
            metrics: Mutex::default(),
            options,
        })
    }

    /// The operator's name for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is counted of the calls of each plugin that may call it.
    pub fn metrics(&self) -> Vec<(String, Arc<CallMetrics>)> {
        let metrics = self.metrics.lock();
        let metrics = metrics.iter();
        metrics
            .map(|(plugin, metrics)| (plugin.clone(), metrics.clone()))
            .collect()
    }

    /// Where the calls of `plugin` are counted.
    pub(super) fn metrics_of(&self, plugin: &str) -> Arc<CallMetrics> {
        self.metrics.lock().entry(plugin.to_owned()).or_default().clone()
    }

    /// Whether it is left alone because it keeps failing.
    pub fn is_left_alone(&self) -> bool {
        self.breaker.is_open()
    }

    /// Makes one call, and counts it in `metrics`. `number` counts the upstream calls of an attempt from 1.
    pub(super) async fn call(
        &self,
        request: &Request,
        caller: Caller<'_>,
        number: u32,
        metrics: &CallMetrics,
    ) -> Result<Reply, Failed> {
        let record = metrics.begin();
        let outcome = self.call_in_turn(request, caller, number, metrics).await;
        record.end(&outcome);
        outcome
    }

    /// Makes one call, in as many tries as are allowed and as there is time for.
    async fn call_in_turn(
        &self,
        request: &Request,
        caller: Caller<'_>,
        number: u32,
        metrics: &CallMetrics,
    ) -> Result<Reply, Failed> {
        let path = self.allowed(&request.method)?;
        let (size, limit) = (request.message.len(), self.options.max_request_bytes);
        if size > limit {
            let target = self.name.clone();
            return Err(Refusal::RequestTooLarge { target, size, limit }.into());
        }
        let headers = headers::compose(request, caller, &self.options.forward_metadata, number)?;
        let framed = exchange::framed(&request.message);
        let patience = Patience::new(caller.deadline, request.timeout, self.options.timeout);

        let _turn = self.turn(&patience.deadline).await?;
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = self.attempt(&path, &headers, &framed, &patience).await;
            let Some(pause) = self.pause_after(tries, &outcome, &patience) else {
                return outcome;
            };
            metrics.retries.increment();
            tracing::debug!(upstream = self.name, tries, "upstream call failed, trying again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn turn(&self, deadline: &Deadline) -> Result<Inside, Refusal> {
        if let Some(turn) = self.turns.try_enter() {
            return Ok(turn);
        }
        let _place = self.queue.take_place().ok_or_else(|| Refusal::Overloaded {
            target: self.name.clone(),
        })?;
        let turn = deadline.bound(self.turns.enter()).await;
        turn.map_err(|_| self.timed_out())
    }

    fn allowed(&self, method: &str) -> Result<Uri, Refusal> {
        let methods = &self.options.methods;
        let path = PathAndQuery::try_from(method).ok();
        // `/package.Service/Method` and nothing else; a query would be another resource to HTTP.
        let path = path.filter(|path| {
            let mut parts = path.path().split('/');
            parts.next() == Some("")
                && parts.next().is_some_and(|service| !service.is_empty())
                && parts.next().is_some_and(|method| !method.is_empty())
                && parts.next().is_none()
                && path.query().is_none()
        });
        let path = path.ok_or_else(|| Refusal::Invalid {
            what: format!("{:?} is not /package.Service/Method", printable(method, 128)),
        })?;
        if !methods.is_empty() && !methods.iter().any(|allowed| allowed.matches(path.path())) {
            return Err(Refusal::method_not_allowed(&self.name, method));
        }
        Ok(Uri::from(path))
    }

    /// One try.
    async fn attempt(
        &self,
        path: &Uri,
        headers: &HeaderMap,
        framed: &bytes::Bytes,
        patience: &Patience,
    ) -> Result<Reply, Failed> {
        let leave = self
            .breaker
            .ask(Instant::now())
            .map_err(|retry_after| Refusal::CircuitOpen {
                target: self.name.clone(),
                retry_after,
            })?;
        let mut headers = headers.clone();
        if let Some(timeout) = patience.deadline.to_header() {
            headers.insert(deadline::HEADER, timeout);
        }
        let limit = self.options.max_response_bytes;
        let exchange = exchange::exchange(self.channel(), path.clone(), headers, framed.clone(), limit);
        let outcome = match patience.deadline.bound(exchange).await {
            Ok(Ok(answer)) => answer.map_err(Failed::from),
            Ok(Err(broken)) => Err(self.broken(&broken).into()),
            Err(_) => Err(self.timed_out().into()),
        };
        // Many targets watch the same deadline, and say in their own way that it has passed.
        let outcome = match patience.deadline.expired() {
            true => Err(self.timed_out().into()),
            false => outcome,
        };
        let now = Instant::now();
        if let Some(well) = patience.verdict(&outcome, now) {
            self.log_change(leave.judge(well, now));
        }
        outcome
    }

    /// How long to wait before the next try; none if there is not to be one.
    fn pause_after(
        &self,
        tries: u32,
        outcome: &Result<Reply, Failed>,
        patience: &Patience,
    ) -> Option<Duration> {
        let Err(failed) = outcome else { return None };
        if tries > self.options.retries || !could_not_take_it(failed) {
            return None;
        }
        let pause = match failed {
            Failed::Answered(answered) => match answered.pushback {
                Some(Pushback::Never) => return None,
                Some(Pushback::After(pause)) => pause,
                None => back_off(tries),
            },
            Failed::Refused(_) => back_off(tries),
        };
        // A try that begins at the deadline cannot end well: rather say now what is wrong.
        let left = patience.deadline.remaining();
        left.is_none_or(|left| pause < left).then_some(pause)
    }

    fn channel(&self) -> Channel {
        let connect = || {
            let _entered = self.runtime.as_ref().map(Handle::enter);
            self.endpoint.connect_lazy()
        };
        self.channel.get_or_init(connect).clone()
    }

    fn timed_out(&self) -> Refusal {
        Refusal::TimedOut {
            target: self.name.clone(),
        }
    }

    fn broken(&self, broken: &Broken) -> Refusal {
        let target = self.name.clone();
        let cause = printable(broken.cause(), MAX_CAUSE_BYTES);
        tracing::debug!(upstream = target, cause, "upstream call failed");
        match broken {
            Broken::Connection(_) => Refusal::Unreachable { target },
            Broken::Protocol(_) => Refusal::Malformed { target },
            Broken::TimedOut => Refusal::TimedOut { target },
            Broken::TooLarge => Refusal::ReplyTooLarge {
                target,
                limit: self.options.max_response_bytes,
            },
        }
    }

    fn log_change(&self, change: Option<Change>) {
        match change {
            Some(Change::Opened) => {
                let ms = self.options.breaker_open.as_millis() as u64;
                tracing::warn!(
                    upstream = self.name,
                    ms,
                    "the upstream keeps failing and is left alone"
                );
            }
            Some(Change::Closed) => tracing::info!(upstream = self.name, "the upstream answers again"),
            None => {}
        }
    }
}

/// Whether the target had no chance to serve the call, as far as it or the connection says.
fn could_not_take_it(failed: &Failed) -> bool {
    match failed {
        Failed::Answered(answered) => answered.code == Code::Unavailable,
        Failed::Refused(refusal) => matches!(refusal, Refusal::Unreachable { .. }),
    }
}

fn back_off(tries: u32) -> Duration {
    let pause = FIRST_PAUSE
        .saturating_mul(1 << tries.saturating_sub(1).min(16))
        .min(LONGEST_PAUSE);
    pause.mul_f64(rand::random_range(0.8..1.2))
}

/// How long one call may take, and who says so.
struct Patience {
    deadline: Deadline,
    /// When the target's own `timeout_ms` ends.
    targets: Option<Instant>,
}

impl Patience {
    fn new(call: &Deadline, asked: Option<Duration>, targets: Option<Duration>) -> Self {
        Self {
            deadline: call.within(asked).within(targets),
            targets: targets.and_then(|timeout| Instant::now().checked_add(timeout)),
        }
    }

    /// Whether the target is well, by how a try went; none if that tells nothing. A target that does not answer
    /// within the operator's own time for it is not; a client or plugin in a hurry proves nothing.
    fn verdict(&self, outcome: &Result<Reply, Failed>, now: Instant) -> Option<bool> {
        match outcome {
            Err(Failed::Refused(Refusal::TimedOut { .. })) => {
                self.targets.is_some_and(|end| now >= end).then_some(false)
            }
            Err(failed) => Some(!could_not_take_it(failed)),
            Ok(_) => Some(true),
        }
    }
}

fn endpoint(options: &TargetOptions) -> Result<Endpoint, TargetError> {
    let endpoint = Endpoint::from(options.url.clone())
        .user_agent(concat!("mortise/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| TargetError::Tls(error.to_string()))?
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .http2_max_header_list_size(MAX_HEADER_BYTES);
    if options.url.scheme_str() != Some("https") {
        return Ok(endpoint);
    }
    let tls = match &options.ca_file {
        None => ClientTlsConfig::new().with_native_roots(),
        Some(file) => {
            let pem = std::fs::read(file).map_err(|error| TargetError::CaFile {
                file: file.clone(),
                error,
            })?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
    };
    endpoint
        .tls_config(tls.timeout(options.connect_timeout))
        .map_err(|error| TargetError::Tls(chain(&error)))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
