#[path = "../support/greeter.rs"]
mod pb;

struct Polite;

#[mortise_guest::plugin]
impl Polite {}

fn main() {}
