#[derive(mortise_guest::Config)]
struct Settings {
    /// Region of the shop.
    region: String,
    /// Size of a page.
    page: u32,
}

fn main() {}
