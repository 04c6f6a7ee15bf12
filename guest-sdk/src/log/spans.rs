//! The open `tracing` spans of a call. Their fields go into every line written inside them.
//!
//! A handler is synchronous, so spans nest as its functions do.

use std::cell::RefCell;

use tracing_core::Metadata;
use tracing_core::span::{Attributes, Current, Id, Record};

use super::Fields;

/// Most spans open at once; what is opened beyond is not recorded.
const SPANS_LIMIT: usize = 64;

/// The id of spans that are not recorded.
const UNRECORDED: u64 = SPANS_LIMIT as u64 + 1;

struct Span {
    metadata: &'static Metadata<'static>,
    fields: Fields,
    /// How many handles to the span there are.
    handles: usize,
}

#[derive(Default)]
struct Spans {
    /// A span's id is its place here plus one.
    open: Vec<Option<Span>>,
    /// The places of the spans that were entered and not left, outermost first.
    entered: Vec<usize>,
}

thread_local! {
    static SPANS: RefCell<Spans> = RefCell::default();
}

/// Closes what an earlier call of this instance left open.
pub(super) fn forget() {
    SPANS.with_borrow_mut(|spans| {
        spans.open.clear();
        spans.entered.clear();
    });
}

pub(super) fn open(attributes: &Attributes<'_>) -> Id {
    // Recorded first: a value's `Debug` is the plugin's code and may log.
    let mut fields = Fields::default();
    attributes.record(&mut fields);
    SPANS.with_borrow_mut(|spans| {
        let span = Some(Span {
            metadata: attributes.metadata(),
            fields,
            handles: 1,
        });
        let place = match spans.open.iter().position(Option::is_none) {
            Some(place) => {
                spans.open[place] = span;
                place
            }
            None if spans.open.len() < SPANS_LIMIT => {
                spans.open.push(span);
                spans.open.len() - 1
            }
            None => return Id::from_u64(UNRECORDED),
        };
        Id::from_u64(place as u64 + 1)
    })
}

pub(super) fn record(id: &Id, values: &Record<'_>) {
    let mut fields = Fields::default();
    values.record(&mut fields);
    with_span(id, |span| {
        for (name, value) in fields.0 {
            span.fields.set(name, value);
        }
    });
}

pub(super) fn enter(id: &Id) {
    SPANS.with_borrow_mut(|spans| {
        if spans.entered.len() < SPANS_LIMIT {
            spans.entered.push(place(id));
        }
    });
}

pub(super) fn exit(id: &Id) {
    SPANS.with_borrow_mut(|spans| {
        if let Some(last) = spans.entered.iter().rposition(|entered| *entered == place(id)) {
            spans.entered.remove(last);
        }
    });
}

pub(super) fn share(id: &Id) {
    with_span(id, |span| span.handles += 1);
}

/// Gives up a handle; true if it was the last.
pub(super) fn close(id: &Id) -> bool {
    SPANS.with_borrow_mut(|spans| {
        let Some(slot) = spans.open.get_mut(place(id)) else {
            return false;
        };
        let Some(span) = slot else { return false };
        span.handles -= 1;
        if span.handles > 0 {
            return false;
        }
        *slot = None;
        true
    })
}

pub(super) fn current() -> Current {
    SPANS.with_borrow(|spans| {
        let Some(place) = spans.entered.last() else {
            return Current::none();
        };
        match spans.open.get(*place) {
            Some(Some(span)) => Current::new(Id::from_u64(*place as u64 + 1), span.metadata),
            _ => Current::none(),
        }
    })
}

/// Adds the fields of the spans entered, from the innermost out; a name that is there already stays.
pub(super) fn add_current(fields: &mut Fields) {
    SPANS.with_borrow(|spans| {
        for place in spans.entered.iter().rev() {
            if let Some(Some(span)) = spans.open.get(*place) {
                for (name, value) in &span.fields.0 {
                    if !fields.has(name) {
                        fields.add(name, format_args!("{value}"));
                    }
                }
            }
        }
    });
}

fn with_span(id: &Id, change: impl FnOnce(&mut Span)) {
    SPANS.with_borrow_mut(|spans| {
        if let Some(Some(span)) = spans.open.get_mut(place(id)) {
            change(span);
        }
    });
}

fn place(id: &Id) -> usize {
    // Ids are made above from places, which are small.
    (id.into_u64() - 1) as usize
}
