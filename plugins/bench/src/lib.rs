//! The benchmark's plugin. Its logic is in [`place`], which the native servers share.

pub mod place;

/// The messages and the service of `bench/v1/bench.proto`.
pub mod pb {
    mortise_guest::include_proto!("bench.v1");
}

use mortise_guest::{Call, Status};

/// The benchmark looks for it in the built component, and puts other digits in its place.
static VARIANT: &str = "variant-0000000000000000";

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

    fn echo(_: &mut Call, payload: pb::Payload) -> Result<pb::Payload, Status> {
        Ok(payload)
    }

    fn get_variant(_: &mut Call, _: pb::GetVariantRequest) -> Result<pb::Variant, Status> {
        Ok(pb::Variant {
            // The compiler must not know the text, or it would make instructions of it.
            name: std::hint::black_box(VARIANT).to_owned(),
        })
    }
}
