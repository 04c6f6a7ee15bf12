#[path = "../support/greeter.rs"]
mod pb;

use mortise_guest::{Call, Status};

struct Polite;

#[mortise_guest::plugin]
impl pb::Greeter for Polite {
    async fn greet(call: &mut Call, request: pb::Name) -> Result<pb::Greeting, Status> {
        Ok(pb::Greeting { text: request.name })
    }
}

fn main() {}
