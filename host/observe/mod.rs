//! What the operator sees.

mod guest_text;
pub mod logging;

pub use guest_text::{is_plain, printable};
