//! One call, straight through.

mod cut_off;
mod host_call;

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::admission::Admission;
use crate::admission::rates::{Caller, CallerRates};
use crate::auth::Authenticator;
use crate::capability::store::{Access, Store};
use crate::capability::upstream::{Journal, Usage};
use crate::commit::{NotCommitted, commit};
use crate::contention::Contention;
use crate::deadline::Deadline;
use crate::idempotency::{Idempotency, Keyed};
use crate::metadata::{AnswerMetadata, RequestMetadata, check_size};
use crate::observe::metrics::{CallRecord, Reasons, Stage};
use crate::observe::{CallId, CallLog, CallSpan, TraceContext, printable};
use crate::plugin::state::{Attempt, Call};
use crate::router::{Route, Router};
use crate::server::framing::{self, Response};
use crate::server::inline;
use crate::server::{Client, Compression, RequestBounds};
use crate::status::{Failure, GuestStatus};

pub use cut_off::CutOff;

/// Paths are shown in messages up to this length.
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
    /// Orders calls that are in each other's way.
    pub contention: Contention,
    /// Finds the answers to repeated calls.
    pub idempotency: Idempotency,
    /// Bounds.
    pub limits: CallLimits,
    /// What is written of calls.
    pub log: CallLog,
    /// Calls that reached no plugin.
    pub unrouted: Reasons,
    /// Ends calls in flight when the host stops.
    pub cut_off: CutOff,
}

/// Who calls, and in which trace.
struct Identity {
    id: CallId,
    trace: Option<TraceContext>,
    peer: Arc<str>,
    /// Whose part of what all clients share the call takes from.
    client: Option<Arc<Client>>,
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

impl Answer {
    /// Of a call whose errand another one has settled: nobody reads it.
    fn settled_before() -> Self {
        Self::Ok {
            message: Vec::new(),
            metadata: AnswerMetadata::default(),
            compress_min_bytes: 0,
        }
    }
}

/// What a call gets that asks for a method which is not served.
pub(crate) fn unknown_method(path: &str) -> Failure {
    Failure::UnknownMethod {
        path: printable(path, MAX_SHOWN_BYTES),
    }
}

impl Dispatcher {
    /// Serves one unary call from its headers to its answer. Dropping the future cancels the call: the guest
    /// stops, and what it staged is discarded unless its commit was already accepted.
    pub(crate) async fn serve(
        &self,
        head: Parts,
        body: tonic::body::Body,
        peer: Arc<str>,
        client: Option<Arc<Client>>,
    ) -> Response {
        let compression = &self.limits.compression;
        let accepted = compression.of_answer(&head.headers);
        match self.call(head, body, peer, client).await {
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

    /// The status of a failure, with its reason unless the operator leaves reasons out.
    pub(crate) fn status(&self, failure: &Failure) -> tonic::Status {
        if self.limits.error_details {
            failure.to_status()
        } else {
            failure.to_bare_status()
        }
    }

    /// The answer to a call that failed before or outside its plugin.
    pub fn failed(&self, failure: &Failure) -> Response {
        let status = self.status(failure);
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

    async fn call(
        &self,
        head: Parts,
        body: tonic::body::Body,
        peer: Arc<str>,
        client: Option<Arc<Client>>,
    ) -> Result<Answer, Failure> {
        let arrived = Instant::now();
        let path = head.uri.path();
        check_size(&head, self.limits.max_metadata_bytes)
            .inspect_err(|failure| self.note_unrouted(failure, path))?;
        let route = self.router.resolve(path);
        let route = route
            .ok_or_else(|| unknown_method(path))
            .inspect_err(|failure| self.note_unrouted(failure, path))?;
        let mut record = route.generation.metrics.begin(route.method, arrived);
        if !route.generation.is_brief(route.method) {
            inline::leave().await;
        }
        let id = CallId::random();
        let trace = TraceContext::of(&head.headers);
        let span = CallSpan::new(id, &head.headers, &route, trace.as_ref());
        // In a box, because it is large, and what wraps a future by value copies all of it.
        let answered = Box::pin(async {
            let identity = Identity {
                id,
                trace,
                peer,
                client,
            };
            let outcome = self.answer(head, body, identity, &route, &mut record).await;
            self.conclude(&outcome, &route, record);
            outcome
        });
        span.scope(answered).await
    }

    /// Counts a call that failed and reached no plugin, and tells the operator who asks for it.
    pub(crate) fn note_unrouted(&self, failure: &Failure, path: &str) {
        self.unrouted.count(failure.row().reason);
        self.log.unrouted(failure, path);
    }

    /// Reads the request of a call that has a route, and has it handled when it is its turn.
    async fn answer(
        &self,
        head: Parts,
        body: tonic::body::Body,
        identity: Identity,
        route: &Route,
        record: &mut CallRecord<'_>,
    ) -> Result<Answer, Failure> {
        let policy = route.policy();
        let deadline = Deadline::from_headers(&head.headers, record.arrived(), &policy.deadline)
            .map_err(|_| Failure::MalformedTimeout)?;
        let principal = self.auth.admit(&policy.access, &head.headers, &head.extensions)?;
        let caller = Caller {
            peer: &identity.peer,
            principal: principal.as_ref().map(|principal| principal.id.as_str()),
        };
        let (path, arrived) = (head.uri.path(), record.arrived().into_std());
        self.rates
            .take(path, &policy.rates, caller, arrived)
            .inspect_err(|refused| record.not_admitted(refused.row().reason))?;
        self.admission
            .foresee(route.generation.claim(route.method), &deadline)
            .inspect_err(|refused| record.not_admitted(refused.row().reason))?;
        let limits = &self.limits;
        let (requests, compression) = (&limits.requests, &limits.compression);
        let read = {
            let read = framing::read_unary(&head.headers, body, identity.client, requests, compression);
            self.cut_off.bound(pin!(deadline.bound(pin!(read)))).await
        };
        record.lap(Stage::Read);
        let (request, _held) = read??;
        let metadata = RequestMetadata::new(head.headers, limits.max_metadata_entries)?
            .withholding(self.auth.withheld());
        let caller = principal.as_deref();
        let entered = self
            .idempotency
            .enter(route, &metadata, caller, &request, &deadline);
        let keyed = self.cut_off.bound(pin!(entered)).await?;
        let claim = route.generation.claim(route.method);
        let admitted = self.admission.admit(claim, &deadline);
        let permit = self.cut_off.bound(pin!(admitted)).await;
        record.lap(Stage::Queue);
        let _permit = permit.inspect_err(|refused| record.not_admitted(refused.row().reason))?;
        let call = Call {
            id: identity.id,
            deadline,
            metadata,
            trace: identity.trace,
            peer: identity.peer,
            principal,
            hops: 0,
            errand: None,
            decisions: Mutex::default(),
            upstream: Journal::default(),
        };
        self.attempts(route, Arc::new(call), request, keyed.as_ref(), record)
            .await
    }

    /// Counts a call that has ended, and tells the operator what there is to tell.
    fn conclude(&self, outcome: &Result<Answer, Failure>, route: &Route, record: CallRecord<'_>) {
        let (took, plugin) = (record.elapsed(), &route.generation.name);
        let code = match outcome {
            Ok(Answer::Ok { .. }) => tonic::Code::Ok,
            Ok(Answer::Failed { status, .. }) => status.code,
            Err(failure) => failure.row().code,
        };
        match outcome {
            Ok(_) => self.log.answered(code, took),
            Err(failure) => {
                record.ended_by_host(failure.row().reason);
                self.log.failed(failure, plugin, took);
            }
        }
        self.log.slow(&record, code, plugin, took);
        record.end(code, took);
    }

    /// Runs the handler until an attempt commits, its status is final, or the attempts are used up.
    async fn attempts(
        &self,
        route: &Route,
        call: Arc<Call>,
        request: Bytes,
        keyed: Option<&Keyed<'_>>,
        record: &mut CallRecord<'_>,
    ) -> Result<Answer, Failure> {
        let generation = &route.generation;
        let read_only = generation.description.methods[route.method].read_only;
        let access = if read_only {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        };
        let mut contender = self.contention.enter();
        let max_attempts = self.limits.max_attempts;
        for number in 1..=max_attempts {
            if call.deadline.expired() {
                return Err(Failure::DeadlineExceeded);
            }
            if number > 1 {
                CallSpan::attempt(number);
                record.retry();
            }
            let mut transaction = self.store.begin(&generation.name, access);
            if !call.begin(&mut transaction)? {
                return Ok(Answer::settled_before());
            }
            if let Some((message, metadata)) = Keyed::recorded(keyed, &mut transaction)? {
                return Ok(Answer::Ok {
                    message,
                    metadata,
                    compress_min_bytes: route.policy().compress_min_bytes,
                });
            }
            let attempt = Box::new(Attempt {
                call: call.clone(),
                number,
                transaction,
                answer: AnswerMetadata::default(),
                decisions_asked: 0,
                upstream: Usage::default(),
            });
            // Pinned here, because what wraps a future by value copies all of it.
            let run = pin!(generation.run(attempt, route.method, request.clone()));
            let finished = self.cut_off.bound(pin!(call.deadline.bound(run))).await;
            record.lap(Stage::Guest);
            let finished = finished??;
            // What it waited for may have ended with the deadline, and let the handler end a moment later.
            if call.deadline.expired() {
                return Err(Failure::DeadlineExceeded);
            }
            let metadata = finished.metadata;
            let (message, mut transaction) = match finished.outcome {
                Ok(answered) => answered,
                Err(status) => return Ok(Answer::Failed { status, metadata }),
            };
            Keyed::record(keyed, &mut transaction, &message, &metadata);
            let committed = match contender.taken(&transaction) {
                taken @ Some(_) if number < max_attempts => {
                    drop(transaction);
                    Err(NotCommitted::Conflict(taken))
                }
                _ => commit(&self.store, transaction, &call.deadline).await,
            };
            record.lap(Stage::Commit);
            match committed {
                Ok(()) => {
                    return Ok(Answer::Ok {
                        message,
                        metadata,
                        compress_min_bytes: route.policy().compress_min_bytes,
                    });
                }
                Err(NotCommitted::Failed(failure)) => return Err(failure),
                Err(NotCommitted::Conflict(over)) => {
                    record.conflict();
                    tracing::debug!(attempt = number, "the transaction met a conflict");
                    if number < max_attempts {
                        let lost = contender.lost(over, number, &call.deadline);
                        self.cut_off.bound(pin!(lost)).await?;
                        record.lap(Stage::Commit);
                    }
                }
            }
        }
        Err(Failure::Conflict {
            attempts: max_attempts,
        })
    }
}
