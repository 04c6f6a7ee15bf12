//! Runs one fuzz target of the host with libFuzzer: that which `FUZZ_TARGET` names. One program has all of them,
//! because each would link wasmtime once more. `run.sh` starts it.

#![no_main]

use std::panic::{self, catch_unwind};
use std::sync::{Mutex, OnceLock};
use std::{env, fs, process};

use libfuzzer_sys::fuzz_target;
use mortise::fuzzing::{TARGETS, Target};

static TARGET: OnceLock<&Target> = OnceLock::new();

/// What the last panic said.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Chooses the target and writes its seeds to `FUZZ_SEEDS`. Without a target it lists what there is.
fn begin() {
    let Ok(name) = env::var("FUZZ_TARGET") else {
        for target in &TARGETS {
            println!("{}", target.name);
        }
        process::exit(0);
    };
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target {name}"));
    if let Some(folder) = env::var_os("FUZZ_SEEDS") {
        fs::create_dir_all(&folder).expect("the folder of seeds can be made");
        for (number, seed) in (target.seeds)().iter().enumerate() {
            let file = std::path::Path::new(&folder).join(format!("seed-{number}"));
            fs::write(file, seed).expect("the folder of seeds can be written");
        }
    }
    TARGET.get_or_init(|| target);
    // In place of libFuzzer's, which ends the process: the host catches panics of libraries.
    panic::set_hook(Box::new(|panic| {
        if let Ok(mut last) = PANIC.lock() {
            *last = panic.to_string();
        }
    }));
}

fuzz_target!(init: begin(), |data: &[u8]| {
    let target = TARGET.get().expect("it was chosen before the first input");
    if catch_unwind(|| (target.run)(data)).is_err() {
        eprintln!("{}", PANIC.lock().expect("nobody panics with it"));
        process::abort();
    }
});
