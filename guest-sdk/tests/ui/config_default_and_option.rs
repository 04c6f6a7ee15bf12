#[derive(mortise_guest::Config)]
struct Settings {
    /// Region of the shop.
    #[config(default = "eu")]
    region: Option<String>,
}

fn main() {}
