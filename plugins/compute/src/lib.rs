//! Work for a processor, and none at all. What is computed is in [`work`], which the native server shares.

pub mod work;

/// The messages and the service of `compute/v1/compute.proto`.
pub mod pb {
    mortise_guest::include_proto!("compute.v1");
}

use std::time::{Duration, Instant};

use mortise_guest::{Call, Status};

/// Computes, or waits.
#[derive(Debug)]
pub struct Compute;

#[mortise_guest::plugin]
impl pb::Compute for Compute {
    fn run(_: &mut Call, work: pb::Work) -> Result<pb::Outcome, Status> {
        work::run(&work).map_err(Status::invalid_argument)
    }

    fn wait(_: &mut Call, request: pb::WaitRequest) -> Result<pb::WaitResponse, Status> {
        let began = Instant::now();
        std::thread::sleep(Duration::from_millis(request.milliseconds.into()));
        let waited = began.elapsed().as_millis() as u64;
        Ok(pb::WaitResponse { waited })
    }
}
