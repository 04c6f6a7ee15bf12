//! The span of one call: everything that is written of the call, wherever that happens, says which call it was.
//!
//! Most calls end without a line. So what their span needs is kept, and the span itself made for the first line that
//! people read: to write its fields down costs more than the rest of the log does. Lines in JSON are made without it.
//! A filter that looks at spans is the exception, because it must know a call's span before it can say whether a line
//! is written.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderValue};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use tokio::task::futures::TaskLocalFuture;
use tracing::field::display as shown;
use tracing::instrument::Instrumented;
use tracing::{Event, Instrument, Span, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::{CallId, TraceContext, logging, printable};
use crate::router::Route;

/// Request ids are shown up to this length.
const MAX_SHOWN_BYTES: usize = 256;

tokio::task_local! {
    /// Of the call that the task is working for at the moment.
    static CURRENT: Arc<CallSpan>;
}

/// The span of one call, made when it is needed.
pub struct CallSpan {
    id: CallId,
    route: Route,
    request_id: Option<HeaderValue>,
    trace: Option<TraceContext>,
    /// The latest.
    attempt: AtomicU32,
    /// Once it has ended, and a line says so.
    status: OnceLock<&'static str>,
    span: OnceLock<Span>,
}

impl CallSpan {
    /// Of a call that came with these headers.
    pub fn new(id: CallId, headers: &HeaderMap, route: &Route, trace: Option<&TraceContext>) -> Arc<Self> {
        Arc::new(Self {
            id,
            route: route.clone(),
            request_id: headers.get("x-request-id").cloned(),
            trace: trace.cloned(),
            attempt: AtomicU32::new(1),
            status: OnceLock::new(),
            span: OnceLock::new(),
        })
    }

    /// Does `work` within the span, where it is also dropped: a guest that is cut off has last words.
    ///
    /// Not an `async` function, which would copy the whole of `work` once more.
    pub fn scope<F: Future>(self: Arc<Self>, work: F) -> TaskLocalFuture<Arc<Self>, Instrumented<F>> {
        let span = match logging::looks_at_spans() {
            true => self.made().clone(),
            false => Span::none(),
        };
        CURRENT.scope(self, work.instrument(span))
    }

    /// The same span for `work` that goes on elsewhere.
    pub fn follow<F: Future>(work: F) -> impl Future<Output = F::Output> {
        let current = CURRENT.try_with(Arc::clone);
        async move {
            match current {
                Ok(span) => span.scope(work).await,
                Err(_) => work.await,
            }
        }
    }

    /// The handler of the current call runs once more.
    pub fn attempt(number: u32) {
        let _ = CURRENT.try_with(|current| {
            current.attempt.store(number, Ordering::Relaxed);
            if let Some(span) = current.span.get() {
                span.record("attempt", number);
            }
        });
    }

    /// The current call ends with this status, and a line is about to say so.
    pub fn status(code: &'static str) {
        let _ = CURRENT.try_with(|current| {
            if let Some(span) = current.span.get() {
                span.record("status", code);
            }
            // It ends once.
            let _ = current.status.set(code);
        });
    }

    /// The span of the current call, if the task is working for one.
    pub(super) fn with_current<T>(read: impl Fn(Option<&Self>) -> T) -> T {
        let read_current = CURRENT.try_with(|current| read(Some(current)));
        read_current.unwrap_or_else(|_| read(None))
    }

    fn shown_request_id(&self) -> Option<String> {
        let request_id = String::from_utf8_lossy(self.request_id.as_ref()?.as_bytes());
        Some(printable(&request_id, MAX_SHOWN_BYTES))
    }

    /// Unless it is the first.
    fn shown_attempt(&self) -> Option<u32> {
        let attempt = self.attempt.load(Ordering::Relaxed);
        (attempt > 1).then_some(attempt)
    }

    fn made(&self) -> &Span {
        self.span.get_or_init(|| {
            let trace = self.trace.as_ref();
            let Route { generation, method } = &self.route;
            tracing::info_span!(
                parent: None,
                "call",
                id = %self.id,
                method = generation.description.methods[*method].path,
                plugin = generation.name.as_str(),
                generation = generation.number,
                request_id = self.shown_request_id(),
                trace_id = trace.map(|trace| shown(trace.trace_id())),
                span_id = trace.map(|trace| shown(trace.span_id())),
                parent_span_id = trace.map(|trace| shown(trace.parent_span_id())),
                attempt = self.shown_attempt(),
                status = self.status.get().copied(),
            )
        })
    }
}

/// As lines in JSON have it: the fields of the span, and its name.
impl Serialize for CallSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Route { generation, method } = &self.route;
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("id", &format_args!("{}", self.id))?;
        fields.serialize_entry("method", &generation.description.methods[*method].path)?;
        fields.serialize_entry("plugin", generation.name.as_str())?;
        fields.serialize_entry("generation", &generation.number)?;
        if let Some(request_id) = self.shown_request_id() {
            fields.serialize_entry("request_id", &request_id)?;
        }
        if let Some(trace) = &self.trace {
            fields.serialize_entry("trace_id", &format_args!("{}", trace.trace_id()))?;
            fields.serialize_entry("span_id", &format_args!("{}", trace.span_id()))?;
            fields.serialize_entry("parent_span_id", &format_args!("{}", trace.parent_span_id()))?;
        }
        if let Some(attempt) = self.shown_attempt() {
            fields.serialize_entry("attempt", &attempt)?;
        }
        if let Some(status) = self.status.get() {
            fields.serialize_entry("status", status)?;
        }
        fields.serialize_entry("name", "call")?;
        fields.end()
    }
}

/// Writes lines for people with the span of the call that they are of.
pub(super) struct WithCallSpan<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for WithCallSpan<F>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let span = CURRENT.try_with(|current| current.made().clone());
        let _entered = span.as_ref().map(Span::enter);
        self.0.format_event(context, writer, event)
    }
}
