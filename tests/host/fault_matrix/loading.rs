//! Components that must not be served.

use std::path::PathBuf;

use crate::support::crafted::{Crafted, EMPTY, descriptors};
use crate::support::{Isolation, Plugin, Setup};

/// Components that must not be served, each with a part of the reason.
fn refused() -> Vec<(&'static str, Crafted, &'static str)> {
    const UNDESCRIBED: &str = "could not describe itself";
    let with = |name: &str, change: &dyn Fn(&mut Crafted)| {
        let mut crafted = Crafted::named(name);
        change(&mut crafted);
        crafted
    };
    let start = |crafted: &mut Crafted, body: &str| {
        crafted.fields = format!("(func $start {body}) (start $start)");
    };
    let service = |name: &str| format!("crafted.v1.{name}");
    vec![
        (
            "describe-loops",
            with("A", &|it| it.describe = "(loop $again (br $again))"),
            "longer than 1 second",
        ),
        (
            "describe-traps",
            with("B", &|it| it.describe = "unreachable"),
            UNDESCRIBED,
        ),
        (
            "describe-outside",
            with("C", &|it| it.describe = "(return (i32.const -64))"),
            UNDESCRIBED,
        ),
        (
            "start-loops",
            with("D", &|it| start(it, "(loop $again (br $again))")),
            "longer than 1 second",
        ),
        (
            "start-traps",
            with("E", &|it| start(it, "unreachable")),
            UNDESCRIBED,
        ),
        (
            "start-grows",
            with("F", &|it| {
                start(
                    it,
                    "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
                );
            }),
            UNDESCRIBED,
        ),
        ("huge-memory", with("G", &|it| it.pages = 60_000), "memory"),
        (
            "huge-table",
            with("H", &|it| it.fields = "(table 1000000 funcref)".into()),
            "table",
        ),
        (
            "name-not-utf8",
            with("I", &|it| it.name = vec![0xff, 0xfe]),
            UNDESCRIBED,
        ),
        (
            "no-methods",
            with("J", &|it| it.methods.clear()),
            "describes no method",
        ),
        (
            "many-methods",
            with("K", &|it| {
                it.methods = vec![("/crafted.v1.K/Call".into(), EMPTY.into()); 4097]
            }),
            "4097 methods, over the limit",
        ),
        (
            "method-twice",
            with("L", &|it| it.methods.push(it.methods[0].clone())),
            "describes method /crafted.v1.L/Call twice",
        ),
        (
            "method-unknown",
            with("M", &|it| {
                it.methods.push(("/crafted.v1.M/Other".into(), EMPTY.into()))
            }),
            "describes method /crafted.v1.M/Other, which its descriptors do not have",
        ),
        (
            "method-invalid",
            with("N", &|it| it.methods[0].0 = "crafted.v1.N.Call\n\u{1b}[2J".into()),
            "which its descriptors do not have",
        ),
        (
            "method-malformed",
            with("T", &|it| {
                it.descriptors = descriptors(&service("T"), &["Call\n\u{1b}[2J"], |_| {});
                it.methods[0].0 = "/crafted.v1.T/Call\n\u{1b}[2J".into();
            }),
            r"Call\n\u{1b}[2J is no name in protobuf",
        ),
        (
            "garbage-descriptors",
            with("O", &|it| it.descriptors = vec![0xff; 64]),
            "descriptors do not parse",
        ),
        (
            "syntax-unknown",
            with("U", &|it| {
                it.descriptors = descriptors(&service("U"), &["Call"], |file| {
                    file.syntax = Some("proto9".into());
                });
            }),
            "descriptors do not parse",
        ),
        (
            "huge-descriptors",
            with("P", &|it| {
                it.pages = 128;
                it.descriptors.resize(5 << 20, 0);
            }),
            "bytes of descriptors, over the limit",
        ),
        (
            "types-unknown",
            with("Q", &|it| {
                it.descriptors = descriptors(&service("Q"), &["Call"], |file| {
                    file.service[0].method[0].input_type = Some(".crafted.v1.Elsewhere".into());
                });
            }),
            "descriptors do not parse",
        ),
        (
            "service-twice",
            with("R", &|it| {
                it.descriptors = descriptors(&service("R"), &["Call"], |file| {
                    file.service.push(file.service[0].clone());
                });
            }),
            "descriptors do not parse",
        ),
        (
            "streaming",
            with("S", &|it| {
                it.descriptors = descriptors(&service("S"), &["Call"], |file| {
                    file.service[0].method[0].server_streaming = Some(true);
                });
            }),
            "is streaming",
        ),
        (
            "the-hosts-own",
            Crafted::serving("grpc.health.v1.Health", &[("Check", EMPTY)]),
            "which the host serves itself",
        ),
    ]
}

#[tokio::test]
async fn faults_of_loading_are_refused_with_their_reason() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = |name: &str| -> PathBuf { folder.path().join(format!("{name}.wasm")) };
    let mut plugins = refused().into_iter().map(|(name, crafted, _)| {
        crafted.write_to(&file(name));
        Plugin::crafted(name, "", &file(name), Isolation::Call)
    });
    let first = plugins.next().expect("there are some");
    let ended = plugins.fold(Setup::of(first), Setup::and).run().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for (name, _, reason) in refused() {
        let refusal = ended
            .stderr
            .lines()
            .find(|line| line.contains(&format!("plugin {name}: ")))
            .unwrap_or_else(|| panic!("{name} was not refused:\n{}", ended.stderr));
        assert!(refusal.contains(reason), "{name}: {refusal}");
    }
}
