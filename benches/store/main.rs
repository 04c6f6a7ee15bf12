//! The store by itself, on the disk of `TMPDIR`: writers of one key, opening after a kill, scans beside commits.
//! Figures of one run; what counts are the ratios.
//!
//! `cargo bench --bench store -- contention restart scans`; without names all of them. `restart` writes 1 GB.

mod contention;
mod restart;
mod scans;

fn main() {
    // The harness's own flags are not for us.
    let names: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    if let [child, directory] = names.as_slice()
        && child == restart::CHILD
    {
        return restart::fill(directory.as_ref());
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        if wanted("contention") {
            contention::run().await;
        }
        if wanted("restart") {
            restart::run();
        }
        if wanted("scans") {
            scans::run().await;
        }
    });
}
