//! What the operator sees.

mod guest_text;
pub mod logging;
mod throttle;

pub use guest_text::{is_plain, printable};
pub use throttle::Throttle;
