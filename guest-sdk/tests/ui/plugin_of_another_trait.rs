#[path = "../support/greeter.rs"]
mod pb;

struct Polite;

#[mortise_guest::plugin]
impl Drop for Polite {
    fn drop(&mut self) {}
}

fn main() {}
