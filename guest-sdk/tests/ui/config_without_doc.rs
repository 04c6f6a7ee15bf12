#[derive(mortise_guest::Config)]
struct Settings {
    region: Option<String>,
}

fn main() {}
