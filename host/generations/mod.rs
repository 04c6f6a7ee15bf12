//! Generations: what one plugin file became when it was loaded, and how the next one takes its place.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod gate;
mod generation;
mod load;
mod make;
mod native;
mod registry;
mod settings;
mod swap;
pub mod watch;

pub use gate::GateError;
pub use generation::{Finished, Generation};
pub use load::{Inspected, LoadError, Loader};
#[doc(hidden)]
pub use native::NativeHandler;
pub use registry::{PluginSettings, Registry};
pub use settings::division;
