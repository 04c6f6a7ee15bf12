//! The plugins as their workspace builds them: their own tests, natively and in their components, and the components.

use wasmparser::{Operator, Parser, Payload};

use std::path::Path;
use std::process::Command;

use crate::support::plugins::{cargo, components, inspect, target_folder};

#[test]
fn the_plugins_pass_their_own_tests() {
    assert_passes(cargo().args(["test", "--workspace"]), "the workspace");
}

fn assert_passes(run: &mut Command, what: &str) {
    let output = run.output().expect("it starts");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{what}: {stdout}{stderr}");
    assert!(stdout.contains("test result: ok"), "{what}: {stdout}{stderr}");
}

/// What the build helper asks of the linker: a sandbox for each call is cheap only if it is small and never
/// grows its memory on an ordinary call.
#[test]
fn components_are_small_and_import_the_contract_alone() {
    let contract = [
        "call", "store", "events", "timers", "limits", "log", "config", "types",
    ];
    for file in [&components().order, &components().faults] {
        let bytes = std::fs::read(file).expect("it was built");
        let (mut memories, mut stack_tops) = (Vec::new(), Vec::new());
        // Components within the component import what wraps them.
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(&bytes) {
            match payload.expect("it is well-formed") {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        let import = import.expect("it is well-formed").name.name.to_owned();
                        let ours = contract
                            .iter()
                            .any(|name| import == format!("mortise:plugin/{name}@0.1.0"));
                        assert!(ours || import.starts_with("wasi:"), "{import}");
                    }
                }
                Payload::MemorySection(section) => {
                    memories.extend(
                        section
                            .into_iter()
                            .map(|memory| memory.expect("it is well-formed").initial),
                    );
                }
                Payload::GlobalSection(section) => {
                    // The stack pointer comes first, and begins where the stack does.
                    let first = section
                        .into_iter()
                        .next()
                        .expect("a global")
                        .expect("it is well-formed");
                    if let Ok(Operator::I32Const { value }) = first.init_expr.get_operators_reader().read() {
                        stack_tops.push(value);
                    }
                }
                _ => {}
            }
        }
        assert_eq!(memories, [2], "pages of 64 KiB in {}", file.display());
        assert_eq!(stack_tops, [32 << 10], "bytes of stack in {}", file.display());
    }
}

/// Whatever of the contract they use: a function that direct linking lacks would make every call of its plugin
/// dearer. `faults` is for components alone, by what it tries of WASI.
#[test]
fn components_are_linked_directly() {
    let components = components();
    for file in [&components.order, &components.tally, &components.caller] {
        let inspection = inspect(file);
        assert_eq!(inspection["linking"], "direct", "{}", file.display());
    }
}

/// `cargo test` in the folder of a plugin, in a component.
fn tested_in(plugin: &str, component: &Path) -> Command {
    let mut cargo = cargo();
    cargo
        .args(["test", "--package", plugin])
        .env("MORTISE_BIN", env!("CARGO_BIN_EXE_mortise"))
        .env("MORTISE_TEST_WASM", component);
    cargo
}

/// What a run that fails prints.
fn failure(mut run: Command) -> String {
    let output = run.output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert!(!output.status.success(), "{printed}");
    printed
}

#[test]
fn the_plugins_pass_their_own_tests_in_their_components() {
    for plugin in ["order", "tally", "minimal", "caller", "faults"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(plugin);
        let mut mortise = Command::new(env!("CARGO_BIN_EXE_mortise"));
        mortise
            .arg("test")
            .arg(folder)
            .env("CARGO_TARGET_DIR", target_folder())
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTFLAGS");
        if plugin == "faults" {
            // Some of its handlers never end.
            mortise.env("MORTISE_TEST_TIMEOUT", "3s");
        }
        assert_passes(&mut mortise, plugin);
    }
}

#[test]
fn tests_that_find_no_sandbox_of_theirs_say_what_to_do() {
    let components = components();
    let another = failure(tested_in("minimal", &components.order));
    assert!(
        another.contains("it is order 0.1.0, and the tests are about minimal 0.1.0"),
        "{another}"
    );
    let older = failure(tested_in("faults", &components.faults_2));
    assert!(
        older.contains("it is faults 2, and the tests are about faults 0.1.0"),
        "{older}"
    );
    assert!(older.contains("Build the component again"), "{older}");
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let no_component = failure(tested_in("minimal", &text));
    assert!(
        no_component.contains("README.md is not WebAssembly"),
        "{no_component}"
    );
    let mut nowhere = tested_in("minimal", &components.order);
    nowhere.env("MORTISE_BIN", "no-such-mortise");
    let no_host = failure(nowhere);
    assert!(
        no_host.contains("\"no-such-mortise\" cannot be run") && no_host.contains("MORTISE_BIN"),
        "{no_host}"
    );
}

#[test]
fn a_sandbox_serves_tests_of_its_own_release_alone() {
    let mut sandbox = Command::new(env!("CARGO_BIN_EXE_mortise"));
    sandbox.arg("sandbox").arg(&components().order);
    sandbox.args(["--protocol", "0"]);
    let refused = failure(sandbox);
    assert!(
        refused.starts_with("error: the tests speak version 0 to a sandbox"),
        "{refused}"
    );
    assert!(refused.contains("of the same release"), "{refused}");
}
