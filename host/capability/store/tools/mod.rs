//! What operators do with a store: look into it, copy it, check it, make it smaller.

mod backup;
mod offline;
mod view;

pub use backup::BackupError;
pub use offline::{Mismatch, compact, exists, verify};
pub use view::{Stats, View};
