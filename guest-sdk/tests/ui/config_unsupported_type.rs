#[derive(mortise_guest::Config)]
struct Settings {
    /// Regions of the shop.
    regions: Option<Vec<String>>,
}

fn main() {}
