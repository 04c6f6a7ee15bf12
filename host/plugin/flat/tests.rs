use std::path::Path;
use std::sync::LazyLock;

use wasmparser::Validator;
use wasmtime::component::Component;
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use super::*;

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::default);

/// What a plugin must export; `handle` answers nothing good.
const EXPORTS: &str = r#"
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
    (func (export "mortise:plugin/handler@0.1.0#describe") (result i32) unreachable)
    (func (export "mortise:plugin/handler@0.1.0#handle") (param i32 i32 i32) (result i32) unreachable)
    (func (export "cabi_post_mortise:plugin/handler@0.1.0#handle") (param i32))
"#;

const IMPORTS: &str = r#"
    (import "mortise:plugin/call@0.1.0" "attempt" (func $attempt (result i32)))
    (import "mortise:plugin/call@0.1.0" "peer" (func $peer (param i32)))
    (import "mortise:plugin/store@0.1.0" "get" (func $get (param i32 i32 i32)))
"#;

fn component(fields: &str, strings: StringEncoding) -> Vec<u8> {
    let text = format!("(module {IMPORTS} {EXPORTS} {fields})");
    let mut module = wat::parse_str(&text).expect("the text is right");
    let mut contract = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest-sdk/wit/v0.1.0");
    let (package, _) = contract.push_dir(wit).expect("the contract parses");
    let world = contract
        .select_world(&[package], Some("plugin"))
        .expect("a world");
    wit_component::embed_component_metadata(&mut module, &contract, world, strings).expect("a section");
    let encoder = ComponentEncoder::default()
        .module(&module)
        .expect("a plugin's module");
    encoder.validate(true).encode().expect("a component")
}

fn fits(component: &[u8]) -> Result<Range<usize>, String> {
    main_module(&ENGINE, component, "0.1.0").map_err(|unfit| unfit.to_string())
}

#[test]
fn a_component_is_taken_apart() {
    let calls = "(func $f (result i32) (call $peer (i32.const 0)) (call $attempt)) \
                 (table funcref (elem $peer $attempt $f))";
    let component = component(calls, StringEncoding::UTF8);
    let main = fits(&component).expect("it is as usual");
    let flat = Flattened::of(&component, main, "0.1.0").expect("it can be rewritten");
    Validator::new()
        .validate_all(&flat.module)
        .expect("the module is valid");
    Validator::new()
        .validate_all(&flat.hollow)
        .expect("the component is valid");

    let engine = &ENGINE;
    let (whole, hollow) = (
        Component::new(engine, &component).expect("it compiles"),
        Component::new(engine, &flat.hollow).expect("it compiles"),
    );
    let names = |component: &Component| {
        let ty = component.component_type();
        let imports = ty.imports(engine).map(|(name, _)| name.to_owned());
        imports
            .chain(ty.exports(engine).map(|(name, _)| name.to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&whole), names(&hollow));

    let module = Module::new(engine, &flat.module).expect("it compiles");
    let linked = Program::link(&module);
    assert!(linked.is_ok(), "{:?}", linked.err());
    let exports: Vec<_> = module.exports().map(|export| export.name().to_owned()).collect();
    assert!(exports.iter().any(|name| name == rewrite::HANDLE), "{exports:?}");
}

#[test]
fn what_is_put_together_otherwise_is_a_component() {
    let with = |fields: &str| fits(&component(fields, StringEncoding::UTF8)).expect_err("unusual");
    assert!(with("(func $s) (start $s)").contains("start function"));
    // The component has it called by the module that ties the others together.
    with(r#"(func (export "_initialize"))"#);
    let utf16 = fits(&component("", StringEncoding::UTF16)).expect_err("unusual");
    assert!(utf16.contains("UTF-8"), "{utf16}");
    let plain = component("", StringEncoding::UTF8);
    let other = main_module(&ENGINE, &plain, "0.2.0").expect_err("another contract");
    assert!(other.to_string().contains("exports"), "{other}");
    for bytes in [&b""[..], b"\0asm\x0d\0\x01\0", b"\0asm\x01\0\0\0", b"no wasm"] {
        assert!(fits(bytes).is_err());
    }
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    let component = component("(func $f (call $peer (i32.const 0)))", StringEncoding::UTF8);
    for end in 0..component.len() {
        let cut = &component[..end];
        // What follows the last export says nothing of how it runs.
        assert!(
            fits(cut).is_err() || Validator::new().validate_all(cut).is_ok(),
            "cut at {end}"
        );
    }
    for index in 0..component.len() {
        let mut changed = component.clone();
        changed[index] ^= 0x15;
        // Whatever it is now, taking it apart ends, and in a module that is checked again when it is
        // compiled.
        if let Ok(main) = fits(&changed) {
            drop(Flattened::of(&changed, main, "0.1.0"));
        }
    }
}

/// The shim's functions must call their own entries: with two of them exchanged, `get` would be `peer`.
#[test]
fn a_wiring_of_its_own_is_noticed() {
    let component = component("", StringEncoding::UTF8);
    // `i32.const K; call_indirect`, the body of the shim's function K.
    let calls: Vec<_> = (0..component.len() - 4)
        .filter(|at| component[*at] == 0x41 && component[at + 2] == 0x11)
        .collect();
    assert_eq!(calls.len(), 2, "the shim has two functions");
    let mut exchanged = component.clone();
    exchanged[calls[0] + 1] ^= 1;
    exchanged[calls[1] + 1] ^= 1;
    assert!(fits(&component).is_ok() && fits(&exchanged).is_err());
}
