#[path = "../support/greeter.rs"]
mod pb;

struct Polite;

#[mortise_guest::plugin(with(pb::Farewell))]
impl pb::Greeter for Polite {}

fn main() {}
