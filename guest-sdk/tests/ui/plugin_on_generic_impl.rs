#[path = "../support/greeter.rs"]
mod pb;

struct Polite<T>(T);

#[mortise_guest::plugin]
impl<T> pb::Greeter for Polite<T> {}

fn main() {}
