#[path = "../support/greeter.rs"]
mod pb;

struct Settings;

struct Polite;

#[mortise_guest::plugin(config = Settings)]
impl pb::Greeter for Polite {}

fn main() {}
