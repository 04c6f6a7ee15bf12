//! The smallest useful plugin: it greets, and counts whom it has greeted.

use mortise_guest::details::BadRequest;
use mortise_guest::{Call, ReadCall, Status};

/// What `proto/greeter/v1/greeter.proto` describes.
pub mod pb {
    mortise_guest::include_proto!("greeter.v1");
}

/// The table of how often each name was greeted.
const HELLOS: &str = "hellos";

/// The greeter. It has no fields: each call gets a fresh sandbox, and what must last is in tables.
#[derive(Debug)]
pub struct Greeter;

#[mortise_guest::plugin]
impl pb::Greeter for Greeter {
    fn say_hello(call: &mut Call, request: pb::HelloRequest) -> Result<pb::HelloReply, Status> {
        let name = request.name.trim();
        if name.is_empty() {
            let mut details = BadRequest::default();
            details.violation("name", "must not be empty");
            return Err(Status::invalid_argument("Whom shall I greet?").with_detail(details));
        }
        let hellos = call.table::<u64>(HELLOS);
        let count = hellos.get(name)?.unwrap_or(0) + 1;
        hellos.put(name, &count)?;
        Ok(pb::HelloReply {
            message: format!("Hello, {name}!"),
        })
    }

    fn count_hellos(call: &mut ReadCall, request: pb::CountRequest) -> Result<pb::CountReply, Status> {
        let count = call.table::<u64>(HELLOS).get(request.name.trim())?.unwrap_or(0);
        Ok(pb::CountReply { count })
    }
}
