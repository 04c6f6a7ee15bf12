#[derive(mortise_guest::Config)]
enum Settings {
    Region,
}

fn main() {}
