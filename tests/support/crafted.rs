//! Components that no compiler makes: written by hand in WebAssembly text, straight against the contract.

use std::fmt::Write as _;
use std::path::Path;

use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use prost_types::{MethodDescriptorProto, ServiceDescriptorProto};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// Where the description stands in the guest's memory. What lies below is the methods' to use.
const DESCRIPTION: u32 = 4096;

/// A component to be. Unless told otherwise it is well-behaved, and its methods answer with an empty message.
#[derive(Debug, Clone)]
pub(crate) struct Crafted {
    /// Fields of the module: functions, data, globals, a start function.
    pub(crate) fields: String,
    /// Imports of the contract that the fields use.
    pub(crate) imports: String,
    /// A package with a world that includes the contract's and has imports of its own; empty for the
    /// contract's.
    pub(crate) wit: &'static str,
    /// What `describe` does before it returns the description.
    pub(crate) describe: &'static str,
    /// What `cabi_realloc` does; it must return an address.
    pub(crate) realloc: &'static str,
    /// The name in the description.
    pub(crate) name: Vec<u8>,
    /// An encoded `FileDescriptorSet`.
    pub(crate) descriptors: Vec<u8>,
    /// Each with the body of a function that takes the request as `$request` and `$length` and returns the
    /// address of a `result<list<u8>, status>`.
    pub(crate) methods: Vec<(String, String)>,
    /// 64 KiB each.
    pub(crate) pages: u32,
}

/// An empty answer.
pub(crate) const EMPTY: &str = "(i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 8) (i32.const 0)) \
                                (i32.const 0)";

impl Crafted {
    /// A service `package.Service` with methods and their bodies.
    pub(crate) fn serving(service: &str, methods: &[(&str, &str)]) -> Self {
        let names: Vec<_> = methods.iter().map(|(name, _)| *name).collect();
        Self {
            fields: String::new(),
            imports: String::new(),
            wit: "",
            describe: "",
            // Nothing is ever freed: a sandbox of these serves few calls.
            realloc: "(global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                      (global.get $next)
                      (global.set $next (i32.add (global.get $next) (local.get $size)))",
            name: b"crafted".to_vec(),
            descriptors: descriptors(service, &names, |_| {}),
            methods: methods
                .iter()
                .map(|(name, body)| (format!("/{service}/{name}"), (*body).to_owned()))
                .collect(),
            pages: 4,
        }
    }

    /// One method `crafted.v1.NAME/Call` that behaves.
    pub(crate) fn named(name: &str) -> Self {
        Self::serving(&format!("crafted.v1.{name}"), &[("Call", EMPTY)])
    }

    /// Writes the component to a file.
    pub(crate) fn write_to(&self, file: &Path) {
        std::fs::write(file, self.encode()).expect("the folder can be written");
    }

    fn encode(&self) -> Vec<u8> {
        let text = self.module();
        let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut contract = Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest-sdk/wit/v0.1.0");
        let (mut package, _) = contract.push_dir(wit).expect("the contract parses");
        if !self.wit.is_empty() {
            let own = contract.push_str("own.wit", self.wit);
            package = own.expect("the package parses");
        }
        let world = contract.select_world(&[package], None);
        let world = world.expect("the contract has a world");
        wit_component::embed_component_metadata(&mut module, &contract, world, StringEncoding::UTF8)
            .expect("the module takes a section");
        let encoder = ComponentEncoder::default().module(&module);
        encoder
            .and_then(|mut encoder| encoder.encode())
            .unwrap_or_else(|error| panic!("{error:#}\n{text}"))
    }

    fn module(&self) -> String {
        let Self {
            fields,
            imports,
            describe,
            realloc,
            pages,
            ..
        } = self;
        let description = self.description();
        let heap = DESCRIPTION as usize + description.len();
        let mut functions = String::new();
        let mut choice = String::new();
        for (index, (_, body)) in self.methods.iter().enumerate() {
            writeln!(
                functions,
                "(func $method{index} (param $request i32) (param $length i32) (result i32) {body})"
            )
            .expect("a string grows");
            writeln!(
                choice,
                "(if (i32.eq (local.get $method) (i32.const {index}))
                   (then (return (call $method{index} (local.get $request) (local.get $length)))))"
            )
            .expect("a string grows");
        }
        let data: String = description.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!(
            r#"(module
              {imports}
              (memory (export "memory") {pages})
              (global $next (mut i32) (i32.const {heap}))
              (data (i32.const {DESCRIPTION}) "{data}")
              {fields}
              {functions}
              (func (export "cabi_realloc")
                (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
                {realloc})
              (func (export "mortise:plugin/handler@0.1.0#describe") (result i32)
                {describe}
                (i32.const {DESCRIPTION}))
              (func (export "mortise:plugin/handler@0.1.0#handle")
                (param $method i32) (param $request i32) (param $length i32) (result i32)
                {choice}
                unreachable))"#
        )
    }

    /// The record `description` as the canonical ABI lays it out, and behind it what it points to.
    fn description(&self) -> Vec<u8> {
        const RECORD: usize = 6 * 8;
        let mut record = Vec::new();
        let mut rest = Vec::new();
        let at = |rest: &Vec<u8>| DESCRIPTION + (RECORD + rest.len()) as u32;
        let mut push = |rest: &mut Vec<u8>, bytes: &[u8], count: usize| {
            rest.resize(rest.len().next_multiple_of(4), 0);
            record.extend_from_slice(&at(rest).to_le_bytes());
            record.extend_from_slice(&(count as u32).to_le_bytes());
            rest.extend_from_slice(bytes);
        };
        push(&mut rest, &self.name, self.name.len());
        push(&mut rest, b"1.0.0", 5);
        push(&mut rest, &self.descriptors, self.descriptors.len());
        let mut methods = Vec::new();
        for (path, _) in &self.methods {
            methods.extend_from_slice(&at(&rest).to_le_bytes());
            methods.extend_from_slice(&(path.len() as u32).to_le_bytes());
            // `internal`, and its padding.
            methods.extend_from_slice(&[0; 4]);
            rest.extend_from_slice(path.as_bytes());
        }
        push(&mut rest, &methods, self.methods.len());
        push(&mut rest, &[], 0);
        push(&mut rest, &[], 0);
        record.extend(rest);
        record
    }
}

/// A file with one service of unary methods over empty messages, as `change` leaves it.
pub(crate) fn descriptors(
    service: &str,
    methods: &[&str],
    change: impl FnOnce(&mut FileDescriptorProto),
) -> Vec<u8> {
    let (package, name) = service.rsplit_once('.').expect("a package");
    let method = |name: &&str| MethodDescriptorProto {
        name: Some((*name).to_owned()),
        input_type: Some(format!(".{package}.Empty")),
        output_type: Some(format!(".{package}.Empty")),
        ..MethodDescriptorProto::default()
    };
    let mut file = FileDescriptorProto {
        name: Some(format!("{}.proto", service.replace('.', "/"))),
        package: Some(package.to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![DescriptorProto {
            name: Some("Empty".to_owned()),
            ..DescriptorProto::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some(name.to_owned()),
            method: methods.iter().map(method).collect(),
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    change(&mut file);
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}
