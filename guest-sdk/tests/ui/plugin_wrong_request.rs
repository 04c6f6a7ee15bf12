#[path = "../support/greeter.rs"]
mod pb;

use mortise_guest::{Call, Status};

struct Polite;

#[mortise_guest::plugin]
impl pb::Greeter for Polite {
    fn greet(_: &mut Call, request: pb::Greeting) -> Result<pb::Greeting, Status> {
        Ok(request)
    }
}

fn main() {}
