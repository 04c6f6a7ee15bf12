#[path = "../support/greeter.rs"]
mod pb;

#[mortise_guest::plugin]
struct Polite;

fn main() {}
