//! What plugins compute, compiled into native servers.

use crate::pb;

// What is public in the plugin is private here.
#[allow(unreachable_pub)]
#[path = "../../plugins/bench/src/place.rs"]
pub(crate) mod place;

#[allow(unreachable_pub)]
#[path = "../../plugins/compute/src/work.rs"]
pub(crate) mod work;
