//! `mortise store`, `events` and `timers` where no host runs. With one: `tests/host/store.rs` and `timers.rs`.

use crate::{Outcome, mortise_in, temporary_folder};

#[test]
fn without_a_store_nothing_is_made_and_a_way_out_is_named() {
    let folder = temporary_folder();
    let commands: [&[&str]; 9] = [
        &["store", "stats"],
        &["store", "scan", "order"],
        &["store", "export", "order"],
        &["store", "backup", "copy"],
        &["events", "list"],
        &["events", "retry", "--all"],
        &["events", "drop", "0"],
        &["timers", "list", "order"],
        &["timers", "cancel", "order", "0"],
    ];
    for command in commands {
        let text = mortise_in(folder.path(), command).exits(1).stderr;
        assert!(text.contains("there is no store in mortise-data/store"), "{text}");
        assert!(text.contains("hint: ") && text.contains("--data"), "{text}");
    }
    for command in ["verify", "compact"] {
        let text = mortise_in(folder.path(), ["store", command]).exits(1).stderr;
        assert!(text.contains("mortise-data/store/store.redb"), "{text}");
    }
    assert!(!folder.path().join("mortise-data").exists());
}

#[test]
fn keys_and_cursors_that_are_none_are_wrong_usage() {
    let folder = temporary_folder();
    for key in ["orders", "[1.5]", "0x1"] {
        let text = mortise_in(folder.path(), ["store", "get", "order", key])
            .exits(2)
            .stderr;
        assert!(text.starts_with("error: "), "{text}");
    }
    mortise_in(folder.path(), ["store", "scan", "order", "--cursor", "xyz"]).exits(2);
    mortise_in(folder.path(), ["store", "scan", "order", "--limit", "1001"]).exits(2);
}

fn store(folder: &std::path::Path, args: &[&str]) -> Outcome {
    mortise_in(folder, ["store"].iter().chain(args))
}

/// A store with what `lines` are.
fn imported(lines: &str) -> tempfile::TempDir {
    let folder = temporary_folder();
    let options = mortise::capability::store::Options::default();
    let store = mortise::capability::store::Store::open(&folder.path().join("mortise-data/store"), options);
    store.expect("made").close();
    std::fs::write(folder.path().join("lines.jsonl"), lines).expect("written");
    folder
}

#[test]
fn entries_go_in_and_come_out_as_they_were() {
    let lines = concat!(
        r#"{"key":["orders","ORD-1"],"value":"b25l"}"#,
        "\n\n",
        r#"{"key":["orders","ORD-2",7],"value":""}"#,
        "\n",
        r#"{"key":["orders.by_name","ä\u202e",-1,{"bytes":"00ff"},true],"value":"AAE="}"#,
        "\n",
        r#"{"key":"0xff","value":"b25l"}"#,
        "\n",
    );
    let folder = imported(lines);
    let folder = folder.path();
    let said = store(folder, &["import", "order", "lines.jsonl"]).exits(0).stdout;
    assert_eq!(said, "4 entries were written\n");

    let one = store(folder, &["get", "order", r#"["orders", "ORD-1"]"#])
        .exits(0)
        .stdout;
    assert_eq!(
        one,
        "{\"key\":[\"orders\",\"ORD-1\"],\"value\":\"b25l\",\"version\":1}\n"
    );
    let absent = store(folder, &["get", "order", "[\"orders\"]"]).exits(1).stderr;
    assert!(absent.contains("there is no such entry"), "{absent}");

    let page = store(folder, &["scan", "order", "--limit", "1"]).exits(0);
    assert_eq!(page.stdout, one);
    let cursor = page
        .stderr
        .trim()
        .strip_prefix("more: --cursor ")
        .expect("a cursor")
        .to_owned();
    let rest = store(folder, &["scan", "order", "--cursor", &cursor]).exits(0);
    assert_eq!((rest.stdout.lines().count(), rest.stderr.as_str()), (3, ""));
    assert!(
        rest.stdout.is_ascii(),
        "what a terminal would act on is escaped: {}",
        rest.stdout
    );
    let table = store(
        folder,
        &["scan", "order", "--prefix", r#"["orders"]"#, "--descending"],
    )
    .exits(0);
    assert_eq!(table.stdout.lines().count(), 2);
    assert!(
        table.stdout.starts_with("{\"key\":[\"orders\",\"ORD-2\",7]"),
        "{}",
        table.stdout
    );

    // What is exported can be imported elsewhere, and is the same there but for the versions.
    let exported = store(folder, &["export", "order"]).exits(0).stdout;
    let other = imported(&exported);
    store(other.path(), &["import", "order", "lines.jsonl"]).exits(0);
    assert_eq!(
        store(other.path(), &["export", "order"]).exits(0).stdout,
        exported
    );

    let stats = store(folder, &["stats"]).exits(0).stdout;
    assert!(stats.contains("PLUGIN") && stats.contains("order"), "{stats}");
    let json: serde_json::Value =
        serde_json::from_str(&store(folder, &["stats", "--json"]).exits(0).stdout).expect("JSON");
    assert_eq!(json["plugins"][0]["plugin"], "order");
    assert_eq!(json["plugins"][0]["keys"], 4);

    assert_eq!(store(folder, &["verify"]).exits(0).stdout, "the store is whole\n");
    let compacted = store(folder, &["compact"]).exits(0).stdout;
    assert!(compacted.contains("bytes after"), "{compacted}");
    assert_eq!(store(folder, &["export", "order"]).exits(0).stdout, exported);
    store(folder, &["backup", "copy.redb"]).exits(0);
    let text = store(folder, &["backup", "copy.redb"]).exits(1).stderr;
    assert!(text.contains("is there already"), "{text}");
}

#[test]
fn a_line_that_is_none_is_named() {
    let folder = imported("{\"key\":[\"a\"],\"value\":\"b25l\"}\n{\"key\":7,\"value\":\"\"}\n");
    let text = store(folder.path(), &["import", "order", "lines.jsonl"])
        .exits(1)
        .stderr;
    assert!(text.contains("line 2") && text.contains("7 is no key"), "{text}");
    let folder = imported("{\"key\":[\"a\"],\"value\":\"%\"}\n");
    let text = store(folder.path(), &["import", "order", "lines.jsonl"])
        .exits(1)
        .stderr;
    assert!(text.contains("line 1") && text.contains("base64"), "{text}");
}
