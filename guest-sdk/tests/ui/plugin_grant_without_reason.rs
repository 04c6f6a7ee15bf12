#[path = "../support/greeter.rs"]
mod pb;

struct Polite;

#[mortise_guest::plugin(grants(upstream("stock")))]
impl pb::Greeter for Polite {}

fn main() {}
