//! A guest that hides secrets wherever it can, and looks for those of the calls before it.
//!
//! Every call first counts what it finds, then grows its memory and its table and looks there too, and at last
//! writes secrets over all of it. Any two calls of a slot of the pool therefore tell whether something is left
//! of the first one: in memory that is reset by copying and in memory that goes back to the kernel, in a slot
//! that serves the same plugin again and in one that served another, in sandboxes that are made anew and in those
//! that are renewed.

use std::path::Path;

use prost::Message;

use crate::support::crafted::Crafted;
use crate::support::log::Line;
use crate::support::pb::faults::PrintRequest;
use crate::support::plugins::inspect;
use crate::support::raw::RawAnswer;
use crate::support::{Isolation, Plugin, Setup};

/// What one call found of calls before it.
#[derive(Clone, Copy, PartialEq, Message)]
struct Found {
    /// Secrets in the memory that a sandbox begins with.
    #[prost(fixed64, tag = "1")]
    secrets: u64,
    /// Words that are not zero, in the part of it that nothing has been written to yet.
    #[prost(fixed64, tag = "2")]
    dirty: u64,
    /// The same in what was grown.
    #[prost(fixed64, tag = "3")]
    grown_dirty: u64,
    /// Statics that are not as the program has them.
    #[prost(fixed64, tag = "4")]
    statics: u64,
    #[prost(fixed64, tag = "5")]
    globals: u64,
    /// Elements of the table that are not null, grown ones among them.
    #[prost(fixed64, tag = "6")]
    elements: u64,
    /// The handle to the first resource that it made.
    #[prost(fixed64, tag = "7")]
    handle: u64,
    /// Bytes of memory when it ended.
    #[prost(fixed64, tag = "8")]
    bytes: u64,
}

impl Found {
    fn nothing(&self) -> bool {
        let Self {
            secrets,
            dirty,
            grown_dirty,
            statics,
            globals,
            elements,
            ..
        } = *self;
        secrets + dirty + grown_dirty + statics + globals + elements == 0
    }
}

#[derive(Clone, PartialEq, Message)]
struct Secret {
    #[prost(fixed64, tag = "1")]
    nonce: u64,
}

/// A guest and how much memory it has.
#[derive(Debug, Clone, Copy)]
struct Hider {
    name: &'static str,
    service: &'static str,
    /// Of 64 KiB, at first and more.
    pages: u32,
    more_pages: u32,
    /// Whether it hides them in its table too, for which its sandboxes are never renewed.
    tables: bool,
}

/// One that changes neither its table nor the size of its memory is renewed. Small ones are reset by copying, the rest of large ones is dropped; the hog takes all it may, so that
/// every slot is large once.
const HIDERS: [Hider; 4] = [
    Hider {
        name: "renewed",
        service: "Renewed",
        pages: 2,
        more_pages: 0,
        tables: false,
    },
    Hider {
        name: "small",
        service: "Small",
        pages: 2,
        more_pages: 0,
        tables: true,
    },
    Hider {
        name: "large",
        service: "Large",
        pages: 10,
        more_pages: 2,
        tables: true,
    },
    Hider {
        name: "hog",
        service: "Hog",
        pages: 3,
        more_pages: 29,
        tables: false,
    },
];

/// Little enough for a call to end in its first time slice, and many times what is reset by copying.
const MEMORY: usize = 2 << 20;

impl Hider {
    /// Linked directly or as a component, under names that say so.
    fn plugin(self, folder: &Path, linking: &str, isolation: Isolation) -> (Plugin, String) {
        let Self { name, service, .. } = self;
        let service = format!("secrets.{linking}.{service}");
        let file = folder.join(format!("{name}-{linking}.wasm"));
        self.crafted(&service).write_to(&file);
        let inspection = inspect(&file);
        assert_eq!(inspection["linking"], "direct", "it can be linked either way");
        let sandboxes = if self.tables { "made" } else { "renewed" };
        assert_eq!(inspection["sandboxes"], sandboxes, "{name}");
        let plugin = Plugin::crafted(&format!("{name}-{linking}"), &service, &file, isolation)
            .replace("linking", format_args!("{linking:?}"))
            .key("max_memory_bytes", MEMORY);
        (plugin, format!("/{service}/Hide"))
    }

    fn crafted(self, service: &str) -> Crafted {
        let more = self.more_pages;
        // In the code alone, never in memory before a guest writes it: no request has it.
        let mark = rand::random::<u64>() | 1;
        let (grow, fill) = if self.tables {
            (GROW_TABLE, FILL_TABLE)
        } else {
            ("", "")
        };
        let hide = HIDE.replace("MORE", &more.to_string());
        let hide = hide.replace("GROW_TABLE", grow).replace("FILL_TABLE", fill);
        let mut crafted = Crafted::serving(service, &[("Hide", &hide)]);
        crafted.pages = self.pages;
        crafted.wit = WIT;
        crafted.imports = IMPORTS.to_owned();
        crafted.fields = FIELDS.replace("MARK", &format!("0x{mark:x}"));
        crafted
    }
}

const WIT: &str = "
    package mortise:tests;
    world hider {
        include mortise:plugin/plugin@0.1.0;
        import wasi:clocks/monotonic-clock@0.2.0;
    }
    package wasi:io@0.2.0 {
        interface poll { resource pollable; }
    }
    package wasi:clocks@0.2.0 {
        interface monotonic-clock {
            use wasi:io/poll@0.2.0.{pollable};
            subscribe-duration: func(when: u64) -> pollable;
        }
    }";

const IMPORTS: &str = r#"
    (import "mortise:plugin/store@0.1.0" "get" (func $get (param i32 i32 i32)))
    (import "mortise:plugin/call@0.1.0" "add-trailing-metadata"
      (func $add_trailing (param i32 i32 i32 i32 i32)))
    (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
      (func $subscribe (param i64) (result i32)))"#;

/// At 0 stands the answer's record, at 2048 the answer, at 3072 a static.
const FIELDS: &str = r#"
    (table $table 8 funcref)
    (elem declare func $hidden)
    (func $hidden)
    (global $hidden_long (mut i64) (i64.const 0))
    (global $hidden_double (mut f64) (f64.const 0))
    (data (i32.const 3072) "a static")
    (data (i32.const 3080) "secret-bin")

    (func $count_secrets (param $at i32) (param $end i32) (result i64) (local $count i64)
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (if (i64.eq (i64.load (local.get $at)) (i64.const MARK))
          (then (local.set $count (i64.add (local.get $count) (i64.const 1)))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br $next)))
      (local.get $count))

    (func $count_dirty (param $at i32) (param $end i32) (result i64) (local $count i64)
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0))
          (then (local.set $count (i64.add (local.get $count) (i64.const 1)))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br $next)))
      (local.get $count))

    (func $count_elements (result i64) (local $index i32) (local $count i64)
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $index) (table.size $table)))
        (if (i32.eqz (ref.is_null (table.get $table (local.get $index))))
          (then (local.set $count (i64.add (local.get $count) (i64.const 1)))))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $next)))
      (local.get $count))

    (func $hide (param $at i32) (param $end i32) (param $nonce i64)
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (i64.store (local.get $at) (i64.const MARK))
        (i64.store offset=8 (local.get $at) (local.get $nonce))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br $next))))

    (func $bytes (result i32) (i32.shl (memory.size) (i32.const 16)))

    (func $answer (param $tag i32) (param $value i64) (local $at i32)
      (local.set $at (i32.add (i32.const 2039) (i32.mul (local.get $tag) (i32.const 9))))
      (i32.store8 (local.get $at) (i32.or (i32.shl (local.get $tag) (i32.const 3)) (i32.const 1)))
      (i64.store offset=1 align=1 (local.get $at) (local.get $value)))"#;

const GROW_TABLE: &str = "(drop (table.grow $table (ref.null func) (i32.const 100)))";
const FILL_TABLE: &str = "(table.fill $table (i32.const 0) (ref.func $hidden) (table.size $table))";

const HIDE: &str = r#"
    (local $nonce i64) (local $heap i32) (local $bytes i32)
    (local $secrets i64) (local $dirty i64) (local $grown i64)
    (local $statics i64) (local $globals i64) (local $elements i64) (local $handle i64)
    (local.set $nonce (i64.load offset=1 align=1 (local.get $request)))
    (local.set $bytes (call $bytes))
    (local.set $secrets (call $count_secrets (i32.const 0) (local.get $bytes)))
    (local.set $heap (i32.and
      (i32.add (i32.add (local.get $request) (local.get $length)) (i32.const 15)) (i32.const -16)))
    (local.set $dirty (call $count_dirty (local.get $heap) (local.get $bytes)))
    ;; "a static"
    (local.set $statics (i64.extend_i32_u
      (i64.ne (i64.load (i32.const 3072)) (i64.const 0x6369746174732061))))
    (local.set $globals (i64.extend_i32_u (i32.or
      (i64.ne (global.get $hidden_long) (i64.const 0))
      (f64.ne (global.get $hidden_double) (f64.const 0)))))
    (local.set $handle (i64.extend_i32_u (call $subscribe (i64.const 0))))
    (drop (memory.grow (i32.const MORE)))
    (local.set $grown (call $count_dirty (local.get $bytes) (call $bytes)))
    GROW_TABLE
    (local.set $elements (call $count_elements))

    (call $hide (i32.const 16) (i32.const 2032) (local.get $nonce))
    (i64.store (i32.const 3072) (local.get $nonce))
    (call $hide (local.get $heap) (call $bytes) (local.get $nonce))
    (global.set $hidden_long (local.get $nonce))
    (global.set $hidden_double (f64.const 1))
    FILL_TABLE
    (drop (call $subscribe (i64.const 0)))
    (call $get (local.get $heap) (i32.const 512) (i32.const 16))
    (call $add_trailing (i32.const 3080) (i32.const 10) (i32.add (local.get $heap) (i32.const 8)) (i32.const 8)
      (i32.const 16))

    (call $answer (i32.const 1) (local.get $secrets))
    (call $answer (i32.const 2) (local.get $dirty))
    (call $answer (i32.const 3) (local.get $grown))
    (call $answer (i32.const 4) (local.get $statics))
    (call $answer (i32.const 5) (local.get $globals))
    (call $answer (i32.const 6) (local.get $elements))
    (call $answer (i32.const 7) (local.get $handle))
    (call $answer (i32.const 8) (i64.extend_i32_u (call $bytes)))
    (i32.store (i32.const 0) (i32.const 0))
    (i32.store (i32.const 4) (i32.const 2048))
    (i32.store (i32.const 8) (i32.const 72))
    (i32.const 0)"#;

/// What the call that hides this secret found, having checked that no other's is on its answer.
fn found(answer: &RawAnswer, secret: &Secret) -> Found {
    let trailing = answer.trailing_bin("secret-bin");
    assert_eq!(trailing, secret.nonce.to_le_bytes(), "{answer:?}");
    answer.message()
}

fn secret() -> Secret {
    Secret {
        nonce: rand::random(),
    }
}

/// Callers that at any moment wait for a sandbox, beyond those that have one.
const CALLERS: usize = 24;
const CALLS_EACH: usize = 20;

#[tokio::test]
async fn with_call_no_secret_outlives_its_call_under_load() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut plugins = Vec::new();
    for hider in HIDERS {
        for linking in ["auto", "component"] {
            plugins.push(hider.plugin(folder.path(), linking, Isolation::Call));
        }
    }
    let (plugins, paths): (Vec<_>, Vec<_>) = plugins.into_iter().unzip();
    // Fewer slots than the plugins would fill with their own.
    let mut setup =
        Setup::of(plugins[0].clone()).with("[server]\nmax_concurrent_calls = 8\nworker_threads = 2");
    for plugin in &plugins[1..] {
        setup = setup.and(plugin.clone());
    }
    let host = setup.start().await;
    let client = host.raw().await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (client, paths) = (client.clone(), paths.clone());
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for call in 0..CALLS_EACH {
                    let (path, secret) = (&paths[(caller + call) % paths.len()], secret());
                    let answer = client.unary(path, &[], &secret).await;
                    seen.push((path.clone(), found(&answer, &secret)));
                }
                seen
            })
        })
        .collect();
    let mut seen = Vec::new();
    for caller in callers {
        seen.extend(caller.await.expect("no panic"));
    }
    let first = |path: &String| seen.iter().find(|(other, _)| other == path);
    for (path, found) in &seen {
        assert!(found.nothing(), "{path}: {found:?}");
        let (_, first) = first(path).expect("itself");
        assert_eq!((found.handle, found.bytes), (first.handle, first.bytes), "{path}");
    }
    let largest = seen.iter().map(|(_, found)| found.bytes).max();
    assert_eq!(largest, Some(MEMORY as u64), "the hog had all it may have");
    assert_eq!(seen.len(), CALLERS * CALLS_EACH);
    // What is idle was renewed, and serves again.
    let idle = host.metrics().await;
    let idle = |plugin: &str| idle.sum("mortise_sandboxes_idle", &[("plugin", plugin)]);
    assert!(idle("renewed-auto") >= 1.0);
    for made in ["renewed-component", "small-auto", "large-auto", "hog-auto"] {
        assert_eq!(idle(made), 0.0, "{made}");
    }
    host.stop().await;
}

/// The search is one that finds.
#[tokio::test]
async fn with_reuse_secrets_are_found() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let [renewed, small, large, _] = HIDERS;
    for (hider, linking) in [
        (renewed, "auto"),
        (small, "auto"),
        (small, "component"),
        (large, "auto"),
        (large, "component"),
    ] {
        let (plugin, path) = hider.plugin(folder.path(), linking, Isolation::Reuse);
        let host = Setup::of(plugin).start().await;
        let client = host.raw().await;
        let mut calls = Vec::new();
        for _ in 0..2 {
            let secret = secret();
            let answer = client.unary(&path, &[], &secret).await;
            calls.push(found(&answer, &secret));
        }
        let [first, second] = calls[..] else {
            unreachable!("two calls")
        };
        assert!(first.nothing(), "{path}: {first:?}");
        assert!(second.secrets > 0 && second.dirty > 0, "{path}: {second:?}");
        let elements = if hider.tables { 108 } else { 0 };
        assert_eq!(
            (second.statics, second.globals, second.elements),
            (1, 1, elements),
            "{path}"
        );
        assert!(second.handle > first.handle, "{path}: {first:?} {second:?}");
        host.stop().await;
    }
}

#[tokio::test]
async fn what_a_call_prints_is_logged_as_its_own() {
    for isolation in [Isolation::Call, Isolation::Reuse] {
        let host = Setup::of(Plugin::faults(isolation)).start().await;
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let (mut faults, secret) = (host.faults(), format!("{:016x}", rand::random::<u64>()));
                // On a line that it does not finish.
                let mut request = tonic::Request::new(PrintRequest {
                    lines: 1,
                    text: secret.clone(),
                    unfinished: true,
                });
                let id = secret.parse().expect("a value");
                request.metadata_mut().insert("x-request-id", id);
                let printed = tokio::spawn(async move { faults.print(request).await });
                (secret, printed)
            })
            .collect();
        for (secret, printed) in calls {
            printed.await.expect("no panic").expect("answered");
            for target in ["mortise::guest::stdout", "mortise::guest::stderr"] {
                let said = |line: &Line| line.target() == target && line.message().contains(&secret);
                let line = host.log.wait_for(&secret, said).await;
                assert_eq!(line.message(), format!("1 {secret}"));
                assert_eq!(line.call("request_id"), secret.as_str());
            }
        }
        host.stop().await;
    }
}
