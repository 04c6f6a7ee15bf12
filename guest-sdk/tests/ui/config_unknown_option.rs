#[derive(mortise_guest::Config)]
struct Settings {
    /// Region of the shop.
    #[config(defualt = "eu")]
    region: String,
}

fn main() {}
