//! Durable calls, and the store by itself, on the disk of `TMPDIR`: calls beside a native handler and bare
//! writes, writers of one key, opening after a kill, pages of scans. Figures of one run; what counts are the
//! ratios.
//!
//! `cargo bench --bench store -- calls contention restart scans`; without names all of them. `restart` writes
//! 1 GB.

mod calls;
mod client;
mod contention;
mod figures;
mod native;
mod restart;
mod scans;
#[path = "../support/mod.rs"]
mod support;

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod pb {
    include!(concat!(env!("OUT_DIR"), "/order.v1.rs"));
}

/// The plugin's own rules, of which a native handler needs a part. What is public there is private here.
#[allow(dead_code, unreachable_pub, unused_imports)]
#[path = "../../plugins/order/src/domain/mod.rs"]
mod domain;

fn main() {
    // The harness's own flags are not for us.
    let names: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    if let [child, directory] = names.as_slice() {
        match child.as_str() {
            restart::CHILD => return restart::fill(directory.as_ref()),
            native::ARGUMENT => return native::serve(directory.as_ref()),
            _ => {}
        }
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    if wanted("calls") {
        calls::run();
    }
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
