//! The benchmark's plugin. Its logic is in [`place`], which the native baseline shares.

pub mod place;

/// The messages and the service of `bench/v1/bench.proto`.
pub mod pb {
    mortise_guest::include_proto!("bench.v1");
}

use mortise_guest::{Call, Status};

/// Confirms orders.
#[derive(Debug)]
pub struct Bench;

#[mortise_guest::plugin]
impl pb::Bench for Bench {
    fn place(call: &mut Call, order: pb::Order) -> Result<pb::Confirmation, Status> {
        // What an ordinary handler does with metadata: read one entry, answer two.
        let request_id = call.metadata().get("x-request-id").unwrap_or_default();
        let confirmation = place::place(&order).map_err(Status::invalid_argument)?;
        call.headers().insert("x-request-id", &request_id)?;
        call.trailers().insert("processing-time-ms", "0")?;
        Ok(confirmation)
    }
}
