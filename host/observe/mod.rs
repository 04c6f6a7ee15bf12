//! What the operator sees.

mod call_id;
mod call_log;
mod call_span;
mod filter;
mod guest_text;
mod json_lines;
pub mod logging;
pub mod metrics;
mod throttle;
mod trace;

pub use call_id::CallId;
pub use call_log::CallLog;
pub use call_span::CallSpan;
pub use guest_text::{is_plain, printable};
pub use throttle::Throttle;
pub use trace::{TRACEPARENT, TRACESTATE, TraceContext};
