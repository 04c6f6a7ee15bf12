//! Plugin files: what is no plugin is refused with a reason that can be shown, before anything is compiled, and what
//! is let through imports nothing that is not offered.

use std::path::Path;

use wasm_encoder::{
    Component, ComponentExportKind, ComponentExportSection, ComponentImportSection, ComponentTypeRef,
    ComponentTypeSection, InstanceType, Module, ModuleSection,
};

use super::gate::{check_imports, check_upstream};
use crate::fuzzing::{Input, Target, assert_shown};
use crate::plugin::artifact::Artifact;

pub(crate) const TARGET: Target = Target::new("component", run, seeds);

/// Of a refusal, which goes to the log and to `mortise check`.
const MAX_SHOWN_BYTES: usize = 2048;

/// What the input is.
const FILE: u8 = 0;
const NAMES: u8 = 1;

/// What a plugin may import; of an entry that ends in a slash, every interface.
const OFFERED: [&str; 15] = [
    "mortise:plugin/types",
    "mortise:plugin/call",
    "mortise:plugin/store",
    "mortise:plugin/events",
    "mortise:plugin/limits",
    "mortise:plugin/log",
    "mortise:plugin/config",
    "mortise:plugin/timers",
    "mortise:plugin/upstream",
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() {
        NAMES => {
            let names = Names::read(input);
            let artifact = let_through(names.component());
            if let Some(artifact) = artifact {
                let imports = names.imports.iter().map(|(name, _)| name);
                assert!(artifact.imports.iter().eq(imports), "every import is seen");
            }
        }
        _ => drop(let_through(input.rest().to_vec())),
    }
}

/// None if the file is refused, as most are.
fn let_through(bytes: Vec<u8>) -> Option<Artifact> {
    let artifact = match Artifact::from_bytes(Path::new("plugin.wasm"), bytes) {
        Ok(artifact) => artifact,
        Err(refused) => {
            assert_shown(&refused.to_string(), MAX_SHOWN_BYTES);
            return None;
        }
    };
    assert!(
        artifact.bytes.starts_with(b"\0asm\x0d\0\x01\0"),
        "it is a component"
    );
    if let Err(refused) = check_imports(&artifact) {
        assert_shown(&refused.to_string(), MAX_SHOWN_BYTES);
        return None;
    }
    for import in &artifact.imports {
        assert!(is_offered(import), "{import:?}");
    }
    let calls_others = artifact
        .imports
        .iter()
        .any(|import| import.starts_with("mortise:plugin/upstream"));
    assert_eq!(check_upstream(&artifact, &[]).is_err(), calls_others);
    assert!(check_upstream(&artifact, &["upstream:stock".to_owned()]).is_ok());
    Some(artifact)
}

fn is_offered(import: &str) -> bool {
    let name = import.split_once('@').map_or(import, |(name, _)| name);
    OFFERED.iter().any(|offered| {
        let rest = name.strip_prefix(offered);
        rest.is_some_and(|rest| rest.is_empty() || offered.ends_with('/'))
    })
}

/// The outline of a component, as an input has it.
struct Names {
    /// With whether each is a core module, and no instance.
    imports: Vec<(String, bool)>,
    exports: Vec<String>,
}

impl Names {
    fn read(mut input: Input<'_>) -> Self {
        let exports = (0..input.byte() % 4).map(|_| input.text()).collect();
        let mut imports = Vec::new();
        while !input.is_empty() {
            imports.push((input.text(), input.byte() == 1));
        }
        Self { imports, exports }
    }

    /// With a core module, and a component within, whose names are its own.
    fn component(&self) -> Vec<u8> {
        let mut types = ComponentTypeSection::new();
        types.instance(&InstanceType::new());
        let mut imports = ComponentImportSection::new();
        for (name, is_module) in &self.imports {
            let kind = if *is_module {
                ComponentTypeRef::Module(0)
            } else {
                ComponentTypeRef::Instance(0)
            };
            imports.import(name.as_str(), kind);
        }
        let mut exports = ComponentExportSection::new();
        for name in &self.exports {
            exports.export(name.as_str(), ComponentExportKind::Instance, 0, None);
        }
        let mut inner = ComponentImportSection::new();
        inner.import(
            "wasi:http/outgoing-handler",
            ComponentTypeRef::Type(wasm_encoder::TypeBounds::SubResource),
        );
        let mut within = Component::new();
        within.section(&inner);
        let mut component = Component::new();
        component.section(&ModuleSection(&Module::new()));
        component.section(&types);
        component.section(&imports);
        component.section(&wasm_encoder::NestedComponentSection(&within));
        component.section(&exports);
        component.finish()
    }
}

fn seeds() -> Vec<Vec<u8>> {
    const HANDLER: &str = "mortise:plugin/handler@0.1.0";
    let outlines: [(&[&str], &[&str]); 6] = [
        (
            &[HANDLER],
            &[
                "mortise:plugin/store@0.1.0",
                "wasi:io/streams@0.2.6",
                "wasi:cli/stderr@0.2.6",
            ],
        ),
        (&[HANDLER, "run"], &["mortise:plugin/upstream@0.1.0"]),
        (&[HANDLER], &["wasi:http/outgoing-handler@0.2.6"]),
        (
            &[HANDLER],
            &["wasi:cli", "mortise:plugin/store2", "mortise:plugin/storeX@0.1.0"],
        ),
        (&["mortise:plugin/handler@9.0.0\n\u{1b}[31m"], &[]),
        (&["wasi:cli/run@0.2.0\u{202e}", "x"], &[]),
    ];
    let mut seeds = Vec::new();
    for (exports, imports) in outlines {
        for is_module in [0, 1] {
            let mut seed = vec![NAMES, u8::try_from(exports.len()).expect("few")];
            let mut push = |name: &str, kind: &[u8]| {
                seed.push(u8::try_from(name.len()).expect("it is short"));
                seed.extend_from_slice(name.as_bytes());
                seed.extend_from_slice(kind);
            };
            exports.iter().for_each(|name| push(name, &[]));
            imports.iter().for_each(|name| push(name, &[is_module]));
            let file = Names::read(Input::new(&seed[1..])).component();
            seeds.push([&[FILE], &file[..]].concat());
            seeds.push(seed);
        }
    }
    for file in [
        &b""[..],
        b"\0as",
        b"\0asm\x01\0\0\0",
        b"\0asm\x0d\0\x01\0",
        b"#!/bin/sh",
    ] {
        seeds.push([&[FILE], file].concat());
    }
    seeds
}
