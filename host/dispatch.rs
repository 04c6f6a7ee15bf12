//! One call, straight through.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::Instrument;

use crate::admission::Admission;
use crate::admission::rates::{Caller, CallerRates};
use crate::auth::Authenticator;
use crate::capability::Namespace;
use crate::capability::store::{Access, Store};
use crate::capability::upstream::{Journal, Usage};
use crate::commit::{NotCommitted, commit};
use crate::deadline::Deadline;
use crate::metadata::{AnswerMetadata, RequestMetadata, check_size};
use crate::observe::{Throttle, printable};
use crate::plugin::state::{Attempt, Call};
use crate::router::{Route, Router};
use crate::server::framing::{self, Response};
use crate::server::{Compression, RequestBounds};
use crate::status::{Blame, Failure, GuestStatus, code_name};

/// Paths and request ids are shown in logs and messages up to this length.
const MAX_SHOWN_BYTES: usize = 256;

/// Bounds that hold for every call.
#[derive(Debug, Clone)]
pub struct CallLimits {
    /// The request message.
    pub requests: RequestBounds,
    /// The request's header list, as HTTP/2 counts it.
    pub max_metadata_bytes: usize,
    /// Entries of request metadata.
    pub max_metadata_entries: usize,
    /// The answer's metadata, status message and details included, as HTTP/2 counts it.
    pub max_response_metadata_bytes: usize,
    /// How often a handler runs when its transaction meets conflicts.
    pub max_attempts: u32,
    /// Of requests and answers.
    pub compression: Compression,
    /// Whether statuses of the host's own say their reason, as `google.rpc.ErrorInfo`.
    pub error_details: bool,
}

/// What every call needs.
pub struct Dispatcher {
    /// Finds the generation.
    pub router: Router,
    /// Knows callers.
    pub auth: Arc<Authenticator>,
    /// How often callers may call.
    pub rates: CallerRates,
    /// Lets calls in.
    pub admission: Admission,
    /// Holds the plugins' state.
    pub store: Store,
    /// Bounds.
    pub limits: CallLimits,
    /// What the log says of failed calls, by reason and plugin.
    pub failures: Throttle<(&'static str, Namespace)>,
}

/// What goes back to the client.
enum Answer {
    Ok {
        message: Vec<u8>,
        metadata: AnswerMetadata,
        /// From which size the method's answers are compressed.
        compress_min_bytes: usize,
    },
    Failed {
        status: GuestStatus,
        metadata: AnswerMetadata,
    },
}

impl Dispatcher {
    /// Serves one unary call from its headers to its answer. Dropping the future cancels the call: the guest
    /// stops, and what it staged is discarded unless its commit was already accepted.
    pub async fn serve(&self, head: Parts, body: tonic::body::Body, peer: String) -> Response {
        let compression = &self.limits.compression;
        let accepted = compression.of_answer(&head.headers);
        match self.call(head, body, peer).await {
            Ok(Answer::Ok {
                message,
                metadata,
                compress_min_bytes,
            }) => {
                let message = compression.compress(message, accepted, compress_min_bytes).await;
                framing::ok(message, metadata.initial, metadata.trailing)
            }
            Ok(Answer::Failed { status, metadata }) => {
                let left = self
                    .limits
                    .max_response_metadata_bytes
                    .saturating_sub(metadata.bytes());
                framing::failed(&status.within(left), metadata.initial, metadata.trailing)
            }
            Err(failure) => self.failed(&failure),
        }
    }

    /// The answer to a call that failed before or outside its plugin.
    pub fn failed(&self, failure: &Failure) -> Response {
        let status = if self.limits.error_details {
            failure.to_status()
        } else {
            failure.to_bare_status()
        };
        let mut headers = HeaderMap::new();
        match failure {
            // So that the client can choose another ("Compression" of the gRPC documents).
            Failure::UnsupportedEncoding { .. } => {
                headers.insert("grpc-accept-encoding", self.limits.compression.supported());
            }
            Failure::Auth(refusal) => headers.extend(refusal.challenge()),
            _ => {}
        }
        if let Some(delay) = failure.retry_after() {
            // Clients that retry by themselves go by this one (gRPC proposal A6).
            headers.insert("grpc-retry-pushback-ms", (delay.as_millis() as u64).into());
        }
        framing::failed(&status, HeaderMap::new(), headers)
    }

    async fn call(&self, head: Parts, body: tonic::body::Body, peer: String) -> Result<Answer, Failure> {
        let arrived = Instant::now();
        check_size(&head, self.limits.max_metadata_bytes)?;
        let path = head.uri.path();
        let route = self.router.resolve(path).ok_or_else(|| Failure::UnknownMethod {
            path: printable(path, MAX_SHOWN_BYTES),
        })?;
        let policy = route.policy();
        let deadline = Deadline::from_headers(&head.headers, arrived, &policy.deadline)
            .map_err(|_| Failure::MalformedTimeout)?;
        let id = format!("{:032x}", rand::random::<u128>());
        let span = call_span(&id, &head, &route);
        async {
            let outcome = async {
                let access = &policy.access;
                let principal = self.auth.admit(access, &head.headers, &head.extensions)?;
                let caller = Caller {
                    peer: &peer,
                    principal: principal.as_ref().map(|principal| principal.id.as_str()),
                };
                self.rates
                    .take(head.uri.path(), &policy.rates, caller, arrived.into_std())?;
                let limits = &self.limits;
                let read = framing::read_unary(&head.headers, body, &limits.requests, &limits.compression);
                let (request, _held) = deadline.bound(read).await??;
                let metadata = RequestMetadata::new(head.headers, self.limits.max_metadata_entries)?
                    .withholding(self.auth.withheld());
                let _permit = self
                    .admission
                    .admit(route.generation.claim(route.method), &deadline)
                    .await?;
                let call = Call {
                    id,
                    deadline,
                    metadata,
                    peer,
                    principal,
                    decisions: Mutex::default(),
                    upstream: Journal::default(),
                };
                self.attempts(&route, Arc::new(call), request).await
            };
            outcome
                .await
                .inspect_err(|failure| self.log_failure(failure, &route, &deadline))
                .inspect(|answer| {
                    log_answer(answer, &deadline);
                })
        }
        .instrument(span)
        .await
    }

    /// Runs the handler until an attempt commits, its status is final, or the attempts are used up.
    async fn attempts(&self, route: &Route, call: Arc<Call>, request: Bytes) -> Result<Answer, Failure> {
        let generation = &route.generation;
        let read_only = generation.description.methods[route.method].read_only;
        let access = if read_only {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        };
        for number in 1..=self.limits.max_attempts {
            if call.deadline.expired() {
                return Err(Failure::DeadlineExceeded);
            }
            let attempt = Attempt {
                call: call.clone(),
                number,
                transaction: self.store.begin(&generation.name, access),
                answer: AnswerMetadata::default(),
                decisions_asked: 0,
                upstream: Usage::default(),
            };
            let finished = call
                .deadline
                .bound(generation.run(attempt, route.method, request.clone()))
                .await??;
            // What it waited for may have ended with the deadline, and let the handler end a moment later.
            if call.deadline.expired() {
                return Err(Failure::DeadlineExceeded);
            }
            let metadata = finished.metadata;
            let (message, transaction) = match finished.outcome {
                Ok(answered) => answered,
                Err(status) => return Ok(Answer::Failed { status, metadata }),
            };
            match commit(&self.store, transaction, &call.deadline).await {
                Ok(()) => {
                    return Ok(Answer::Ok {
                        message,
                        metadata,
                        compress_min_bytes: route.policy().compress_min_bytes,
                    });
                }
                Err(NotCommitted::Failed(failure)) => return Err(failure),
                Err(NotCommitted::Conflict) => {
                    tracing::debug!(attempt = number, "the transaction met a conflict");
                    call.deadline.bound(tokio::time::sleep(back_off(number))).await?;
                }
            }
        }
        Err(Failure::Conflict {
            attempts: self.limits.max_attempts,
        })
    }

    fn log_failure(&self, failure: &Failure, route: &Route, deadline: &Deadline) {
        let row = failure.row();
        let (reason, code, blame) = (row.reason, code_name(row.code), row.blame.as_str());
        let ms = deadline.elapsed().as_millis() as u64;
        let late = *failure == Failure::DeadlineExceeded;
        if row.blame == Blame::Client && !late {
            let cause = failure.cause().map(tracing::field::display);
            tracing::debug!(reason, code, blame, ms, cause, "call failed: {}", row.message);
            return;
        }
        let kind = (reason, route.generation.name.clone());
        let Some(suppressed) = self.failures.admit(kind, std::time::Instant::now()) else {
            return;
        };
        let suppressed = (suppressed > 0).then_some(suppressed);
        if late {
            // Nobody's fault for sure: a client in a hurry, or a plugin that takes too long.
            tracing::info!(reason, code, ms, suppressed, "call failed: {}", row.message);
        } else {
            let cause = failure.cause().map(tracing::field::display);
            tracing::error!(
                reason,
                code,
                blame,
                ms,
                cause,
                suppressed,
                "call failed: {}",
                row.message
            );
        }
    }
}

/// Up to 1, 2, 4, 8 … 64 ms: rivals that met once should not meet again in step.
fn back_off(attempt: u32) -> Duration {
    let most = 1000 << attempt.saturating_sub(1).min(6);
    Duration::from_micros(rand::random_range(0..most))
}

fn call_span(id: &str, head: &Parts, route: &Route) -> tracing::Span {
    let generation = &route.generation;
    let span = tracing::info_span!(
        "call",
        id,
        method = head.uri.path(),
        plugin = generation.name.as_str(),
        generation = generation.number,
        request_id = tracing::field::Empty,
    );
    if let Some(request_id) = head.headers.get("x-request-id") {
        let request_id = printable(&String::from_utf8_lossy(request_id.as_bytes()), MAX_SHOWN_BYTES);
        span.record("request_id", request_id);
    }
    span
}

fn log_answer(answer: &Answer, deadline: &Deadline) {
    let code = match answer {
        Answer::Ok { .. } => tonic::Code::Ok,
        Answer::Failed { status, .. } => status.code,
    };
    let code = code_name(code);
    tracing::debug!(code, ms = deadline.elapsed().as_millis() as u64, "call answered");
}
