//! What keeps a host from starting, with the reason and the exit code.

use std::net::TcpListener;
use std::time::Duration;

use tonic::Code;

use crate::files::{bad_files, bounded};
use crate::support::pb::faults::CountRequest;
use crate::support::pb::order::ListOrdersRequest;
use crate::support::{Isolation, LiveFile, Plugin, Setup, components};

#[tokio::test]
async fn two_plugins_cannot_serve_one_service() {
    let plugin = || Plugin::faults(Isolation::Call);
    let ended = Setup::of(plugin().named("first"))
        .and(plugin().named("second"))
        .run()
        .await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let reason = "claims the service faults.v1.Faults, which plugin first serves already";
    assert!(
        ended.stderr.contains("plugin second: ") && ended.stderr.contains(reason),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn bad_files_are_refused_with_their_reason() {
    for (reason, bytes) in bad_files() {
        let live = LiveFile::copy_of(&components().faults);
        live.write_in_place(&bytes);
        let ended = Setup::of(bounded(Plugin::faults(Isolation::Call).file(&live.path)))
            .run()
            .await;
        assert_eq!(ended.code, Some(1), "{reason}: {}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{reason}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(live.path.to_str().expect("UTF-8")),
            "which file: {}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn every_bad_plugin_is_named_at_once() {
    let live = LiveFile::copy_of(&components().faults);
    live.write_in_place(b"garbage");
    let garbage = |name: &str| Plugin::faults(Isolation::Call).named(name).file(&live.path);
    let ended = Setup::of(garbage("one")).and(garbage("two")).run().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for name in ["one", "two"] {
        assert!(
            ended.stderr.contains(&format!("plugin {name}: ")),
            "{}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn every_missing_file_is_named_at_once() {
    let missing = |name: &str| {
        Plugin::faults(Isolation::Call)
            .named(name)
            .file(format!("/nowhere/{name}.wasm").as_ref())
    };
    let ended = Setup::of(missing("one")).and(missing("two")).run().await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    for name in ["one", "two"] {
        assert!(
            ended
                .stderr
                .contains(&format!("cannot read /nowhere/{name}.wasm")),
            "{}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn values_a_plugin_does_not_know_are_refused() {
    let plugin = Plugin::order(Isolation::Call)
        .config("regoin", "\"eu\"")
        .config("min_remaining_ms", "\"soon\"");
    let ended = Setup::of(plugin).run().await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("did you mean region?"), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("config.min_remaining_ms: must be an integer"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn values_from_elsewhere_reach_the_plugin_and_no_log() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("least");
    std::fs::write(&file, "60000\n").expect("it can be written");
    let plugin = Plugin::order(Isolation::Call)
        .config("region", "{ env = \"SECRET_OF_THE_HOST\" }")
        .config("min_remaining_ms", format!("{{ file = {file:?} }}"));
    let host = Setup::of(plugin).filter("mortise=trace").start().await;
    let mut orders = host.orders();
    // What no guest gets unless the operator hands it over.
    let secret = "must not reach a guest";
    let listed = orders
        .list_orders(ListOrdersRequest::default())
        .await
        .expect("listed");
    assert_eq!(listed.metadata().get("region").expect("it is set"), secret);

    let mut hasty = tonic::Request::new(ListOrdersRequest::default());
    hasty.set_timeout(Duration::from_secs(30));
    let refused = orders.list_orders(hasty).await.expect_err("it is refused");
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    assert!(refused.message().contains("Insufficient time"), "{refused:?}");
    assert!(!host.log.text().contains(secret));
    host.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let ended = Setup::of(Plugin::faults(Isolation::Call)).run_at(&address).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains(&format!("{address} is in use")),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn a_data_folder_in_use_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = || Setup::of(Plugin::faults(Isolation::Call)).data(folder.path());
    let host = setup().start().await;
    let ended = setup().run().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("in use by another host"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains(folder.path().to_str().expect("UTF-8")),
        "which: {}",
        ended.stderr
    );
    host.faults()
        .count(CountRequest {})
        .await
        .expect("the first is not disturbed");
    host.stop().await;
    setup().start().await.stop().await;
}
