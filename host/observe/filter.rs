//! Which log lines are written: a filter that can be replaced while the host runs.
//!
//! tracing-subscriber has a layer for that as well. It takes a lock for every span that is made, entered and
//! left, which are several for each call, on all threads.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::{EnvFilter, registry::LookupSpan};

/// The filter in force. Clones share it.
#[derive(Clone)]
pub(super) struct Filter(Arc<ArcSwap<Current>>);

struct Current {
    text: String,
    filter: EnvFilter,
    /// Whether it looks at spans and their fields, and so must hear of them.
    by_span: bool,
}

impl Current {
    fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self {
            filter: parse(text)?,
            by_span: text.contains('['),
            text: text.to_owned(),
        })
    }
}

/// A level alone is Mortise's: its libraries log for their own developers, and only their warnings matter.
fn parse(text: &str) -> Result<EnvFilter, ParseError> {
    match text.parse::<LevelFilter>() {
        Ok(level) => EnvFilter::try_new(format!("warn,mortise={level}")),
        Err(_) => EnvFilter::try_new(text),
    }
}

impl Filter {
    pub(super) fn new(text: &str) -> Result<Self, ParseError> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(Current::parse(text)?))))
    }

    /// The filter as it was given.
    pub(super) fn text(&self) -> String {
        self.0.load().text.clone()
    }

    /// Whether it looks at spans and their fields.
    pub(super) fn looks_at_spans(&self) -> bool {
        self.0.load().by_span
    }

    /// Replaces it, for lines that are written from now on. One that looks at spans does not see those that are
    /// there already.
    pub(super) fn replace(&self, text: &str) -> Result<(), ParseError> {
        self.0.store(Arc::new(Current::parse(text)?));
        // What each place that logs has been told holds until now.
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    fn spans<T>(&self, ask: impl FnOnce(&EnvFilter) -> T) -> Option<T> {
        let current = self.0.load();
        current.by_span.then(|| ask(&current.filter))
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Filter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        Layer::<S>::register_callsite(&self.0.load().filter, metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        Layer::<S>::enabled(&self.0.load().filter, metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Layer::<S>::max_level_hint(&self.0.load().filter)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.spans(|filter| filter.on_new_span(attributes, id, context));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.spans(|filter| Layer::<S>::on_record(filter, id, values, context));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.spans(|filter| Layer::<S>::on_enter(filter, id, context));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.spans(|filter| Layer::<S>::on_exit(filter, id, context));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.spans(|filter| Layer::<S>::on_close(filter, id, context));
    }
}
