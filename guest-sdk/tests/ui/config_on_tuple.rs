#[derive(mortise_guest::Config)]
struct Settings(Option<String>);

fn main() {}
