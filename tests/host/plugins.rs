//! The plugins as their workspace builds them: their own tests, which run natively, and their components.

use wasmparser::{Operator, Parser, Payload};

use std::process::Command;

use crate::support::plugins::{cargo, components};

#[test]
fn the_plugins_pass_their_own_tests() {
    let output = cargo()
        .args(["test", "--workspace"])
        .output()
        .expect("cargo starts");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("test result: ok"), "{stdout}{stderr}");
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
        let output = Command::new(env!("CARGO_BIN_EXE_mortise"))
            .args(["inspect", "--json"])
            .arg(file)
            .output()
            .expect("the binary starts");
        let inspection: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(inspection["linking"], "direct", "{}", file.display());
    }
}
