//! Fuzz targets: what must hold for whatever a stranger sends, writes into a file or puts into a component.
//!
//! A target takes any bytes and panics if one of its properties does not hold. Targets that need what is private
//! stand beside it, in a `fuzzing` module of their folder, so that nothing has to be made public for them. None of
//! this is in an ordinary build: the library has it under `cfg(test)`, where `cargo test` replays seeds and
//! regressions, and under `cfg(fuzzing)`, which `fuzz/run.sh` sets for libFuzzer.

mod input;
mod metadata;
mod timeout;

use std::cell::LazyCell;

use tokio::runtime::{Builder, Runtime};

pub(crate) use input::{Input, cut};

/// Something that is fuzzed.
pub struct Target {
    /// Its name on the command line, and that of its folder in `fuzz/regressions`.
    pub name: &'static str,
    /// Tries one input.
    pub run: fn(&[u8]),
    /// Inputs that reach deep, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    pub(crate) const fn new(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Self {
        Self { name, run, seeds }
    }
}

/// All of them.
pub const TARGETS: [Target; 12] = [
    timeout::TARGET,
    metadata::TARGET,
    crate::server::fuzzing::FRAMING,
    crate::server::fuzzing::GRPC_WEB,
    crate::server::fuzzing::FRAMES,
    crate::server::fuzzing::PROXY,
    crate::config::fuzzing::TARGET,
    crate::plugin::fuzzing::TARGET,
    crate::plugin::flat::fuzzing::TARGET,
    crate::generations::fuzzing::TARGET,
    crate::auth::fuzzing::TOKENS,
    crate::auth::fuzzing::KEYS,
];

/// Runs what waits for nothing but its turn.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
            Builder::new_current_thread().enable_time().build().expect("a runtime can be made")
        });
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// That `text`, which a stranger had a part in, can be shown: on one line and not endlessly long.
#[track_caller]
pub(crate) fn assert_shown(text: &str, max_bytes: usize) {
    assert!(text.len() <= max_bytes, "{} bytes: {:.200}", text.len(), text);
    assert!(text.chars().all(crate::observe::is_plain), "{text:?}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn regressions(target: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/regressions")
            .join(target);
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        entries
            .map(|entry| entry.expect("it can be listed").path())
            .collect()
    }

    #[test]
    fn what_once_failed_holds() {
        for target in &TARGETS {
            for file in regressions(target.name) {
                println!("{}", file.display());
                (target.run)(&fs::read(file).expect("it can be read"));
            }
        }
    }

    /// So that targets are tried on every machine, and not only where there is libFuzzer.
    #[test]
    fn seeds_hold_as_they_are_and_damaged() {
        const PLACES: usize = 24;
        for target in &TARGETS {
            for seed in (target.seeds)() {
                (target.run)(&seed);
                for at in (0..seed.len()).step_by(seed.len() / PLACES + 1) {
                    (target.run)(&seed[..at]);
                    let mut damaged = seed.clone();
                    damaged[at] ^= 1 << (at % 8);
                    (target.run)(&damaged);
                }
            }
        }
    }

    #[test]
    fn regressions_are_of_targets_that_there_are() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
        for entry in fs::read_dir(folder).expect("it is there") {
            let name = entry.expect("it can be listed").file_name();
            assert!(TARGETS.iter().any(|target| *target.name == name), "{name:?}");
        }
    }
}
