#[path = "../support/greeter.rs"]
mod pb;

struct Polite;

#[mortise_guest::plugin(name = "polite", name = "kind")]
impl pb::Greeter for Polite {}

fn main() {}
