//! `mortise inspect`.

use crate::new::greeter;
use crate::{mortise, mortise_in, temporary_folder};

#[test]
fn a_component_is_described_for_reading() {
    let file = greeter().to_str().expect("the path is UTF-8");
    let outcome = mortise(["inspect", file]).exits(0);
    assert_eq!(outcome.stderr, "");
    let lines: Vec<_> = outcome.stdout.lines().collect();
    for line in [
        "name      greeter",
        "version   0.1.0",
        "contract  0.1.0",
        "services  greeter.v1.Greeter",
    ] {
        assert!(lines.contains(&line), "{line:?} is missing:\n{}", outcome.stdout);
    }
    for line in [
        "            SayHello",
        "            CountHellos",
        "grants    none",
        "config    none",
    ] {
        assert!(lines.contains(&line), "{line:?} is missing:\n{}", outcome.stdout);
    }
}

#[test]
fn a_component_is_described_for_scripts() {
    let file = greeter();
    let outcome = mortise(["inspect", file.to_str().expect("the path is UTF-8"), "--json"]).exits(0);
    let inspection: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("it is JSON");
    let service = serde_json::json!({
        "name": "greeter.v1.Greeter",
        "methods": ["SayHello", "CountHellos"],
        "internal_methods": [],
    });
    assert_eq!(inspection["services"], serde_json::json!([service]));
    assert_eq!(
        inspection["size_bytes"],
        std::fs::metadata(file).expect("it is there").len()
    );
    let digest = inspection["digest"].as_str().expect("it is text");
    assert_eq!(digest.strip_prefix("sha256:").map(str::len), Some(64), "{digest}");
    let imports = inspection["imports"].as_array().expect("it is a list");
    assert!(
        imports.contains(&"mortise:plugin/store@0.1.0".into()),
        "{imports:?}"
    );
}

#[test]
fn what_is_no_plugin_is_refused_with_the_reason() {
    let folder = temporary_folder();
    let component = std::fs::read(greeter()).expect("it can be read");
    let module = b"\0asm\x01\0\0\0";
    for (file, bytes, reason) in [
        ("text.wasm", &b"no wasm"[..], "text.wasm is not WebAssembly"),
        (
            "module.wasm",
            module,
            "module.wasm is a core module, not a component",
        ),
        (
            "half.wasm",
            &component[..component.len() / 2],
            "half.wasm is damaged or incomplete",
        ),
    ] {
        std::fs::write(folder.path().join(file), bytes).expect("it can be written");
        let outcome = mortise_in(folder.path(), ["inspect", file]).exits(1);
        assert!(
            outcome.stderr.starts_with(&format!("error: {reason}")),
            "{}",
            outcome.stderr
        );
        assert_eq!(outcome.stdout, "");
    }
    let outcome = mortise_in(folder.path(), ["inspect", "absent.wasm"]).exits(1);
    assert!(
        outcome.stderr.starts_with("error: cannot read absent.wasm"),
        "{}",
        outcome.stderr
    );
}
