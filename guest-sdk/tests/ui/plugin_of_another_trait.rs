struct Polite;

#[mortise_guest::plugin]
impl Unpin for Polite {}

fn main() {}
