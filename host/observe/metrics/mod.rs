//! Figures: what is counted, where it is kept, and how it is shown.
//!
//! Counting must cost a call next to nothing, so what belongs to a method is resolved when its generation is
//! loaded ([`GenerationMetrics`]), and a call that ends adds to a few atomics. Everything else is read from where
//! it is anyway, or counted by the part that it happens in, when somebody asks for a page; `table` lists
//! all of it, `collect` gathers it.

pub mod alerts;
mod call;
mod collect;
mod generation;
mod instrument;
mod page;
mod plugin;
mod process;
mod reasons;
pub mod reference;
pub mod table;

pub use call::{CallRecord, Stage, Stages};
pub use collect::Collector;
pub use generation::{GenerationMetrics, Identity, State, TrapKind};
pub use instrument::{Counter, Distribution, Durations, Gauge, Numbers};
pub use page::CONTENT_TYPE;
pub use plugin::{LoadOutcome, PluginMetrics, Refusal};
pub use process::{start_time, started, thread_cpu_time, uptime};
pub use reasons::Reasons;
