//! The guest that does what its request says, in WebAssembly text. The component that is made of it stands in
//! `puppet.wasm`, because only tests have what makes components.
//!
//! Where it makes room lies apart from all else, unless it lies at the end of the memory or beyond. Bytes that
//! belong to two values have no meaning, and depend on which of them was written last. Nor have the bytes of an
//! answer that its case does not use: they are cleared first.

use std::fmt::Write as _;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use super::*;

/// Where the request stands in memory.
const REQUEST_AT: u32 = 32 << 10;
/// How much of what the request has for memory is taken.
const MAX_PATCH_BYTES: u32 = 4096;
/// Where room is made by itself: behind that, where answers begin, and the largest of those.
const ROOM_AT: u32 = MAX_PATCH_BYTES + 256;
/// Where room is made as told.
const ROOMS_AT: u32 = 64 << 10;
/// The answer is the memory up to here, so that all that the guest was told can be seen.
const ANSWER_BYTES: u32 = 12 << 10;

#[test]
fn the_puppet_is_made_of_its_text() {
    let puppet = component();
    if std::env::var_os("MORTISE_WRITE_PUPPET").is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("host/plugin/flat/fuzzing/puppet.wasm");
        std::fs::write(file, &puppet).expect("it can be written");
        return;
    }
    assert!(
        puppet == PUPPET,
        "run MORTISE_WRITE_PUPPET=1 cargo test --lib puppet"
    );
}

/// The target would compare little if its seeds were all refused.
#[test]
fn seeds_reach_every_import_and_its_answer() {
    let memory = good_memory();
    for (number, (interface, function, _)) in IMPORTS.iter().enumerate() {
        let mut request = Script::new(&memory).step(number).request;
        request.resize(request.len().max(MEMORY), 0);
        let (outcome, _) = block_on(outcomes(&LINKED.flat, request.into(), &[1; 64]));
        let asked: Vec<_> = outcome.asked.iter().map(|(asked, _)| asked.as_str()).collect();
        assert_eq!(asked, [format!("{interface}.{function}")], "{:?}", outcome.ended);
        let answer = outcome.ended.expect("no trap").expect("its memory");
        assert_eq!(answer.len(), ANSWER_BYTES as usize);
    }
}

fn component() -> Vec<u8> {
    let text = module();
    let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut contract = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest-sdk/wit/v0.1.0");
    let (package, _) = contract.push_dir(wit).expect("the contract parses");
    let world = contract.select_world(&[package], None).expect("a world");
    wit_component::embed_component_metadata(&mut module, &contract, world, StringEncoding::UTF8)
        .expect("a section");
    let encoder = ComponentEncoder::default().module(&module);
    let encoded = encoder.and_then(|encoder| encoder.validate(true).encode());
    encoded.expect("a component")
}

fn module() -> String {
    let (mut imports, mut choices) = (String::new(), String::new());
    for (number, (interface, function, params)) in IMPORTS.iter().enumerate() {
        let (mut types, mut arguments, mut offset) = (String::new(), String::new(), 8);
        for parameter in params.bytes() {
            let (kind, size) = match parameter {
                b'R' => continue,
                b'l' => ("i64", 8),
                _ => ("i32", 4),
            };
            let _ = write!(types, "(param {kind})");
            let argument = format!("({kind}.load offset={offset} align=1 (local.get $at))");
            let _ = match parameter {
                b'r' => write!(arguments, "(call $place {argument})"),
                _ => write!(arguments, "{argument}"),
            };
            offset += size;
        }
        let gives = *params == "R";
        let result = if gives { "(result i32)" } else { "" };
        let _ = writeln!(
            imports,
            r#"(import "mortise:plugin/{interface}@0.1.0" "{function}" (func $import{number} {types} {result}))"#
        );
        let call = format!("(call $import{number} {arguments})");
        let call = if gives {
            format!("(i32.store (i32.const 2048) {call})")
        } else {
            call
        };
        let _ = writeln!(
            choices,
            "(if (i32.eq (local.get $import) (i32.const {number})) (then {call}))"
        );
    }
    let attempt = IMPORTS
        .iter()
        .position(|import| import.1 == "attempt")
        .expect("it is there");
    let count = IMPORTS.len();
    let at = |offset: usize| REQUEST_AT as usize + offset;
    let (result, steps, after, in_room) = (at(RESULT), at(STEPS), at(LEAVES_AFTER), at(LEAVES_IN_ROOM));
    let (first, patch) = (at(FIRST_STEP), at(MEMORY));
    // The result that it makes by itself stands behind what it answers.
    let own = ANSWER_BYTES;
    let pages = END / (64 << 10);
    format!(
        r#"(module
          {imports}
          (memory (export "memory") {pages})
          (global $rooms (mut i32) (i32.const 0))
          (global $free (mut i32) (i32.const {ROOM_AT}))

          (func (export "cabi_realloc") (param $old i32) (param $was i32) (param $align i32) (param $size i32)
            (result i32) (local $number i32)
            (local.set $number (global.get $rooms))
            (global.set $rooms (i32.add (local.get $number) (i32.const 1)))
            (if (i32.eqz (local.get $number)) (then (return (i32.const {REQUEST_AT}))))
            (if (i32.load8_u (i32.const {in_room})) (then (drop (call $import{attempt}))))
            (if (i32.le_u (local.get $number) (i32.const {rooms})) (then
              (local.set $old (i32.load
                (i32.add (i32.const {before_rooms}) (i32.shl (local.get $number) (i32.const 2)))))
              (if (local.get $old) (then (return (call $room (local.get $number) (local.get $old)))))))
            (global.set $free (i32.and
              (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
              (i32.sub (i32.const 0) (local.get $align))))
            (global.get $free)
            (global.set $free (i32.add (global.get $free) (local.get $size))))

          (func $room (param $number i32) (param $at i32) (result i32)
            (if (i32.ge_u (local.get $at) (i32.const {bytes})) (then (return (local.get $at))))
            (if (i32.and
                (i32.eq (local.get $number) (i32.const 1))
                (i32.ge_u (local.get $at) (i32.const {near_the_end})))
              (then (return (local.get $at))))
            (i32.add
              (i32.add (i32.const {ROOMS_AT}) (i32.shl (local.get $number) (i32.const 14)))
              (i32.and (local.get $at) (i32.const 0x1fff))))

          (func $place (param $at i32) (result i32)
            (if (i32.ge_u (local.get $at) (i32.const {bytes})) (then (return (local.get $at))))
            (if (i32.lt_u (local.get $at) (i32.const {near_the_end}))
              (then (local.set $at (i32.and (local.get $at) (i32.const 0xfff)))))
            (memory.fill (local.get $at) (i32.const 0) (select
              (i32.const 64)
              (i32.sub (i32.const {bytes}) (local.get $at))
              (i32.le_u (local.get $at) (i32.const {cleared_whole}))))
            (local.get $at))

          (func $step (param $at i32) (local $import i32)
            (local.set $import (i32.rem_u (i32.load8_u (local.get $at)) (i32.const {count})))
            {choices})

          (func (export "mortise:plugin/handler@0.1.0#handle")
            (param $method i32) (param $request i32) (param $length i32) (result i32) (local $step i32)
            (if (i32.ne (local.get $request) (i32.const {REQUEST_AT})) (then unreachable))
            (local.set $length (i32.sub (local.get $length) (i32.const {MEMORY})))
            (if (i32.gt_u (local.get $length) (i32.const {MAX_PATCH_BYTES}))
              (then (local.set $length (i32.const {MAX_PATCH_BYTES}))))
            (memory.copy (i32.const 0) (i32.const {patch}) (local.get $length))
            (block $done (loop $next
              (br_if $done (i32.ge_u (local.get $step)
                (i32.and (i32.load8_u (i32.const {steps})) (i32.const {MAX_STEPS}))))
              (call $step (i32.add (i32.const {first})
                (i32.mul (local.get $step) (i32.const {STEP_BYTES}))))
              (local.set $step (i32.add (local.get $step) (i32.const 1)))
              (br $next)))
            (if (i32.load (i32.const {result})) (then (return (i32.load (i32.const {result})))))
            (i32.store (i32.const {own}) (i32.const 0))
            (i32.store offset=4 (i32.const {own}) (i32.const 0))
            (i32.store offset=8 (i32.const {own}) (i32.const {ANSWER_BYTES}))
            (i32.const {own}))

          (func (export "cabi_post_mortise:plugin/handler@0.1.0#handle") (param i32)
            (if (i32.load8_u (i32.const {after})) (then (drop (call $import{attempt})))))
          (func (export "mortise:plugin/handler@0.1.0#describe") (result i32) unreachable))"#,
        rooms = ROOMS.len(),
        before_rooms = REQUEST_AT - 4,
        bytes = END,
        near_the_end = END - 256,
        cleared_whole = END - 64,
    )
}
