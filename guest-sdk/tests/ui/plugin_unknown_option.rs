#[path = "../support/greeter.rs"]
mod pb;

struct Polite;

#[mortise_guest::plugin(nmae = "polite")]
impl pb::Greeter for Polite {}

fn main() {}
