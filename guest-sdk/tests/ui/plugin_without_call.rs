#[path = "../support/greeter.rs"]
mod pb;

use mortise_guest::Status;

struct Polite;

#[mortise_guest::plugin]
impl pb::Greeter for Polite {
    fn greet(request: pb::Name) -> Result<pb::Greeting, Status> {
        Ok(pb::Greeting { text: request.name })
    }
}

fn main() {}
