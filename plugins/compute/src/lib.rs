//! Work for a processor. What is computed is in [`work`], which the native server shares.

pub mod work;

/// The messages and the service of `compute/v1/compute.proto`.
pub mod pb {
    mortise_guest::include_proto!("compute.v1");
}

use mortise_guest::{Call, Status};

/// Computes.
#[derive(Debug)]
pub struct Compute;

#[mortise_guest::plugin]
impl pb::Compute for Compute {
    fn run(_: &mut Call, work: pb::Work) -> Result<pb::Outcome, Status> {
        work::run(&work).map_err(Status::invalid_argument)
    }
}
