//! What no compiler makes.

use super::*;
use crate::support::crafted::{Crafted, EMPTY};

/// Bodies of methods that no compiler makes: what, how it ends, the body.
///
/// The canonical ABI lays a `result<list<u8>, status>` out as its case at 0, and at 4 either the list's
/// address and length or the status: code at 4, message at 8, details at 16.
///
/// A second answer does not exist in this contract: `handle` returns once. What comes closest is a guest
/// that misbehaves after its answer, when the host lets it free what it returned (`cabi_post_`).
const CRAFTED: &[(&str, Ends, &str)] = &[
    (
        "an answer that is no protobuf",
        Ends::Answered,
        "(i32.store (i32.const 0) (i32.const 0))
         (i32.store (i32.const 4) (i32.const 512)) (i32.store (i32.const 8) (i32.const 4)) (i32.const 0)",
    ),
    (
        "an answer outside the memory",
        FAILED,
        "(i32.store (i32.const 0) (i32.const 0))
         (i32.store (i32.const 4) (i32.const 0x7fff0000)) (i32.store (i32.const 8) (i32.const 4096))
         (i32.const 0)",
    ),
    (
        "an answer longer than the memory",
        FAILED,
        "(i32.store (i32.const 0) (i32.const 0))
         (i32.store (i32.const 4) (i32.const 0)) (i32.store (i32.const 8) (i32.const -1)) (i32.const 0)",
    ),
    ("a result outside the memory", FAILED, "(i32.const -16)"),
    ("a result out of line", FAILED, "(i32.const 1)"),
    (
        "a result that is neither",
        FAILED,
        "(i32.store (i32.const 0) (i32.const 7)) (i32.const 0)",
    ),
    (
        "a code that is none",
        FAILED,
        "(i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 200))
         (i64.store (i32.const 8) (i64.const 0)) (i64.store (i32.const 16) (i64.const 0)) (i32.const 0)",
    ),
    (
        "a status message that is not UTF-8",
        FAILED,
        "(i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 0))
         (i32.store (i32.const 8) (i32.const 512)) (i32.store (i32.const 12) (i32.const 4))
         (i64.store (i32.const 16) (i64.const 0)) (i32.const 0)",
    ),
    // 10,000 details, all of them with one value of 128 KiB: 1.3 GB if the host copied them.
    (
        "details that overlap",
        FAILED,
        "(local $at i32)
         (local.set $at (i32.const 65536))
         (loop $more
           (i32.store (local.get $at) (i32.const 0)) (i32.store offset=4 (local.get $at) (i32.const 0))
           (i32.store offset=8 (local.get $at) (i32.const 0))
           (i32.store offset=12 (local.get $at) (i32.const 131072))
           (local.set $at (i32.add (local.get $at) (i32.const 16)))
           (br_if $more (i32.lt_u (local.get $at) (i32.const 225536))))
         (i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 0))
         (i64.store (i32.const 8) (i64.const 0))
         (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (i32.const 10000))
         (i32.const 0)",
    ),
    // The same with the keys of one import call.
    (
        "keys that overlap",
        FAILED,
        "(local $at i32)
         (local.set $at (i32.const 65536))
         (loop $more
           (i32.store (local.get $at) (i32.const 0))
           (i32.store offset=4 (local.get $at) (i32.const 131072))
           (local.set $at (i32.add (local.get $at) (i32.const 8)))
           (br_if $more (i32.lt_u (local.get $at) (i32.const 145536))))
         (call $get_many (i32.const 65536) (i32.const 10000) (i32.const 64))
         (unreachable)",
    ),
    (
        "metadata whose key is not UTF-8",
        FAILED,
        "(call $add_trailing (i32.const 512) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 64))
         (unreachable)",
    ),
    (
        "metadata in upper case, refused",
        Ends::Answered,
        "(call $must_be_refused (i32.const 520) (i32.const 5))",
    ),
    (
        "reserved metadata, refused",
        Ends::Answered,
        "(call $must_be_refused (i32.const 528) (i32.const 11))",
    ),
    (
        "a topic that is not UTF-8",
        FAILED,
        "(call $publish (i32.const 512) (i32.const 4) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0) (i32.const 64))
         (unreachable)",
    ),
    (
        "a line of the log that is not UTF-8",
        FAILED,
        "(call $log (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 512) (i32.const 4)
           (i32.const 0) (i32.const 0))
         (unreachable)",
    ),
    (
        "a level of the log that is none",
        FAILED,
        "(call $log (i32.const 99) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0))
         (unreachable)",
    ),
    (
        "growth of memory at once",
        OUT_OF_MEMORY,
        "(if (i32.eq (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable)) (i32.const 0)",
    ),
    (
        "a trap after the answer",
        FAILED,
        "(i64.store (i32.const 1024) (i64.const 0)) (i64.store (i32.const 1032) (i64.const 0))
         (i32.const 1024)",
    ),
    (
        "a loop after the answer",
        LATE,
        "(i64.store (i32.const 1040) (i64.const 0)) (i64.store (i32.const 1048) (i64.const 0))
         (i32.const 1040)",
    ),
];

/// What goes wrong when the host asks for room for a request of so many bytes.
const ALLOCATIONS: &[(&str, Ends, usize)] = &[
    ("a trap in allocation", FAILED, 1),
    ("room outside the memory", FAILED, 2),
    ("a loop in allocation", LATE, 3),
];

/// What goes wrong when the sandbox of a call starts, though it went well when the plugin was loaded.
pub(super) const STARTS: &[(&str, Ends, &str, &str)] = &[
    ("a trap in start-up", FAILED, "StartTraps", "unreachable"),
    (
        "a loop in start-up",
        LATE,
        "StartLoops",
        "(loop $again (br $again))",
    ),
    (
        "memory growth in start-up",
        OUT_OF_MEMORY,
        "StartGrows",
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
    ),
];

/// Ends when an element is refused: the table would hold twice its limit. In a component of its own, because one that
/// can change a table is never renewed, and so could not be used again after its other faults either.
const GROWS_A_TABLE: &str = "(local $grown i32)
    (loop $more
      (if (i32.eq (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable))
      (local.set $grown (i32.add (local.get $grown) (i32.const 1000)))
      (br_if $more (i32.lt_u (local.get $grown) (i32.const 40000))))
    (i32.const 0)";

pub(super) const TABLE_SERVICE: &str = "crafted.v1.Table";

pub(crate) const CRAFTED_SERVICE: &str = "crafted.v1.Crafted";

/// A method that loops.
pub(crate) const ENDLESS: &str = "Endless";

/// Answers with one byte: how many calls of this method the sandbox has served.
const COUNT: &str = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.store (i32.const 0) (i32.const 0)) (i32.store8 (i32.const 768) (global.get $calls))
    (i32.store (i32.const 4) (i32.const 768)) (i32.store (i32.const 8) (i32.const 1)) (i32.const 0)";

/// All crafted faults of calls in one component, with the methods `Count` and `Fine`.
pub(super) fn crafted() -> Crafted {
    let names: Vec<_> = (0..CRAFTED.len()).map(|index| format!("Fault{index}")).collect();
    let mut methods = vec![
        ("Count", COUNT),
        ("Fine", EMPTY),
        (ENDLESS, "(loop $again (br $again)) unreachable"),
    ];
    methods.extend(
        names
            .iter()
            .zip(CRAFTED)
            .map(|(name, (_, _, body))| (name.as_str(), *body)),
    );
    let mut crafted = Crafted::serving(CRAFTED_SERVICE, &methods);
    crafted.imports = r#"
        (import "mortise:plugin/store@0.1.0" "get-many" (func $get_many (param i32 i32 i32)))
        (import "mortise:plugin/events@0.1.0" "publish"
          (func $publish (param i32 i32 i32 i32 i32 i32 i32)))
        (import "mortise:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32 i32 i32)))
        (import "mortise:plugin/call@0.1.0" "add-trailing-metadata"
          (func $add_trailing (param i32 i32 i32 i32 i32)))"#
        .to_owned();
    crafted.fields = r#"
        (global $calls (mut i32) (i32.const 0))
        (data (i32.const 512) "\ff\ff\ff\ff")
        (data (i32.const 520) "Upper")
        (data (i32.const 528) "grpc-status")
        (func $must_be_refused (param $key i32) (param $length i32) (result i32)
          (call $add_trailing (local.get $key) (local.get $length) (i32.const 0) (i32.const 0) (i32.const 64))
          (if (i32.eqz (i32.load8_u (i32.const 64))) (then unreachable))
          (i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 8) (i32.const 0)) (i32.const 0))
        (func (export "cabi_post_mortise:plugin/handler@0.1.0#handle") (param $result i32)
          (if (i32.eq (local.get $result) (i32.const 1024)) (then unreachable))
          (if (i32.eq (local.get $result) (i32.const 1040)) (then (loop $again (br $again)))))"#
        .to_owned();
    crafted.realloc = "(if (i32.eq (local.get $size) (i32.const 1)) (then unreachable))
        (if (i32.eq (local.get $size) (i32.const 2)) (then (return (i32.const -16))))
        (if (i32.eq (local.get $size) (i32.const 3)) (then (loop $again (br $again))))
        (i32.const 2048)";
    crafted
}

/// The component that grows a table.
pub(super) fn table() -> Crafted {
    let mut crafted = Crafted::serving(TABLE_SERVICE, &[("Call", GROWS_A_TABLE)]);
    crafted.fields = "(table $table 0 funcref)".to_owned();
    crafted
}

/// A component that starts well only where there is no call.
pub(super) fn bad_start(name: &str, start: &str) -> Crafted {
    let mut crafted = Crafted::named(name);
    crafted.imports =
        r#"(import "mortise:plugin/call@0.1.0" "attempt" (func $attempt (result i32)))"#.to_owned();
    crafted.fields = format!("(func $start (if (call $attempt) (then {start}))) (start $start)");
    crafted
}

pub(super) fn crafted_faults() -> Vec<Fault> {
    let fault = |what, ends, path, length: usize| Fault {
        what,
        path,
        body: [&[0, 0, 0, 0, length as u8][..], &vec![b'x'; length]]
            .concat()
            .into(),
        timeout: if ends == LATE { SHORT } else { "60S" },
        ends,
    };
    let bodies = CRAFTED.iter().enumerate();
    let bodies = bodies
        .map(|(index, (what, ends, _))| fault(*what, *ends, format!("/{CRAFTED_SERVICE}/Fault{index}"), 0));
    let allocations = ALLOCATIONS
        .iter()
        .map(|(what, ends, length)| fault(*what, *ends, format!("/{CRAFTED_SERVICE}/Fine"), *length));
    let starts = STARTS
        .iter()
        .map(|(what, ends, name, _)| fault(*what, *ends, format!("/crafted.v1.{name}/Call"), 0));
    let endless = fault("a loop by hand", LATE, format!("/{CRAFTED_SERVICE}/{ENDLESS}"), 0);
    let table = fault("growth of a table", FAILED, format!("/{TABLE_SERVICE}/Call"), 0);
    bodies
        .chain(allocations)
        .chain(starts)
        .chain([endless, table])
        .collect()
}
