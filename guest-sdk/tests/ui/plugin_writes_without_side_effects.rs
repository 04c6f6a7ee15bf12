#[path = "../support/greeter.rs"]
mod pb;

use mortise_guest::{ReadCall, Status};

struct Polite;

#[mortise_guest::plugin]
impl pb::Greeter for Polite {
    fn recall(call: &mut ReadCall, request: pb::Name) -> Result<pb::Greeting, Status> {
        call.table::<pb::Name>("names").put(&request.name, &request)?;
        Ok(pb::Greeting { text: request.name })
    }
}

fn main() {}
