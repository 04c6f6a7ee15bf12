#[derive(mortise_guest::Config)]
struct Settings {
    /// Size of a page.
    #[config(default = 1.5)]
    page: u32,
}

fn main() {}
