//! The store as its operators see it, while a host runs and after it.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use tonic::Code;

use crate::orders::order;
use crate::support::pb::faults::write_then_request::Ending;
use crate::support::pb::faults::{IncrementRequest, WriteThenRequest};
use crate::support::pb::order::{GetOrderRequest, ListOrdersRequest};
use crate::support::{Isolation, Plugin, Setup};

fn store(data: &std::path::Path, args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_mortise"))
        .arg("store")
        .args(args)
        .arg("--data")
        .arg(data)
        .output();
    output.expect("the binary starts")
}

#[track_caller]
fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn stderr(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_restores_every_order_that_was_placed_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let host = Setup::of(Plugin::order(Isolation::Call))
        .data(&data)
        .start()
        .await;
    for number in 0..20 {
        let order = order(&format!("before-{number}"));
        host.orders().create_order(order).await.expect("placed");
    }
    let mut orders = host.orders();
    let load = tokio::spawn(async move {
        let mut placed = 0;
        loop {
            match orders.create_order(order(&format!("during-{placed}"))).await {
                Ok(_) => placed += 1,
                Err(_) => return placed,
            }
        }
    });
    let backup = folder.path().join("backup.redb");
    let said = stdout(store(&data, &["backup", backup.to_str().expect("UTF-8")]));
    assert!(said.contains("bytes"), "{said}");
    let stats: Value = serde_json::from_str(&stdout(store(&data, &["stats", "--json"]))).expect("JSON");
    assert_eq!(stats["plugins"][0]["plugin"], "order");
    assert!(
        stats["plugins"][0]["keys"].as_u64().expect("a number") >= 60,
        "{stats}"
    );
    let found = stdout(store(&data, &["get", "order", r#"["orders", "before-7"]"#]));
    assert!(found.contains("before-7"), "{found}");
    let page = stdout(store(
        &data,
        &["scan", "order", "--prefix", r#"["orders"]"#, "--limit", "5"],
    ));
    assert_eq!(page.lines().count(), 5);
    for command in ["verify", "compact"] {
        let text = stderr(store(&data, &[command]));
        assert!(text.contains("in use by another host"), "{text}");
    }
    host.stop().await;
    assert!(load.await.expect("no panic") > 0, "calls went on");

    let restored = folder.path().join("restored");
    fs::create_dir_all(restored.join("store")).expect("made");
    fs::copy(&backup, restored.join("store/store.redb")).expect("copied");
    assert_eq!(stdout(store(&restored, &["verify"])), "the store is whole\n");
    let host = Setup::of(Plugin::order(Isolation::Call))
        .data(&restored)
        .start()
        .await;
    for number in 0..20 {
        let id = format!("before-{number}");
        host.orders()
            .get_order(GetOrderRequest { id })
            .await
            .expect("it is there");
    }
    let listed = host
        .orders()
        .list_orders(ListOrdersRequest::default())
        .await
        .expect("listed");
    assert!(listed.get_ref().orders.len() >= 20);
    host.orders()
        .create_order(order("after"))
        .await
        .expect("it goes on");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_imported_while_the_host_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .data(&data)
        .start()
        .await;
    let lines = folder.path().join("lines.jsonl");
    // A counter at 41, in eight bytes.
    fs::write(&lines, "{\"key\":\"0x6e\",\"value\":\"AAAAAAAAACk=\"}\n").expect("written");
    stdout(store(
        &data,
        &["import", "faults", lines.to_str().expect("UTF-8")],
    ));
    let request = IncrementRequest {
        key: "n".into(),
        wait_milliseconds: 0,
    };
    let answer = host.faults().increment(request).await.expect("added");
    assert_eq!(answer.get_ref().value, 42);
    let exported = stdout(store(&data, &["export", "faults"]));
    assert!(exported.contains("AAAAAAAAACo="), "{exported}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_keeps_too_much_is_told_and_others_are_not() {
    let small = Plugin::faults(Isolation::Call)
        .key("max_store_keys", 1)
        .key("max_value_bytes", 1024);
    let host = Setup::of(small).and(Plugin::order(Isolation::Call)).start().await;
    let write = async |key: &str, size: usize| {
        let request = WriteThenRequest {
            key: key.into(),
            value: vec![7; size],
            ending: Ending::Ok.into(),
        };
        host.faults()
            .write_then(request)
            .await
            .map(drop)
            .map_err(|status| status.code())
    };
    assert_eq!(write("a", 1025).await, Err(Code::ResourceExhausted));
    assert_eq!(write("a", 1024).await, Ok(()));
    assert_eq!(write("b", 1).await, Err(Code::ResourceExhausted));
    assert_eq!(write("a", 1).await, Ok(()));
    host.orders()
        .create_order(order("one"))
        .await
        .expect("another plugin has a quota of its own");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relaxed_commits_survive_a_stop_in_good_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = || {
        Setup::of(Plugin::order(Isolation::Call).key("durability", "\"relaxed\""))
            .with("[store]\nrelaxed_window_ms = 60000")
            .data(folder.path())
    };
    let host = setup().start().await;
    host.orders().create_order(order("one")).await.expect("placed");
    host.orders()
        .get_order(GetOrderRequest { id: "one".into() })
        .await
        .expect("seen at once");
    host.stop().await;
    let host = setup().start().await;
    host.orders()
        .get_order(GetOrderRequest { id: "one".into() })
        .await
        .expect("kept");
    host.stop().await;
}
