//! A plugin file that is replaced takes over without a failed call.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tonic_health::pb::health_check_response::ServingStatus;

use crate::in_both_modes;
use crate::reflection::services;
use crate::support::log::Line;
use crate::support::pb::faults::*;
use crate::support::{Host, Isolation, LiveFile, Plugin, Setup, components, until_some};

in_both_modes!(
    fifty_swaps_fail_no_call,
    calls_in_flight_finish_on_their_version,
    services_follow_a_swap,
    state_outlives_a_swap,
    saving_the_same_bytes_swaps_nothing,
    mounted_folders_are_swapped_whole,
);

const COUNT: &str = "/faults.v1.Faults/Count";

/// The version that answers, seen twice: in the answer and in its metadata.
async fn version(host: &Host) -> String {
    let answer = host.faults().count(CountRequest {}).await.expect("answered");
    let declared = answer.metadata().get("faults-version").expect("set").clone();
    let version = answer.into_inner().version;
    assert_eq!(declared, version.as_str(), "a mixture of versions");
    version
}

/// Waits until the log says that `version` is live, after its first `skip` lines.
pub(crate) async fn until_live(host: &Host, skip: usize, version: &str) -> Line {
    let live = |line: &Line| line.message() == "live" && line.field("version") == version;
    host.log
        .wait_for_after(skip, &format!("version {version} is live"), live)
        .await
}

fn bytes(component: &Path) -> Vec<u8> {
    fs::read(component).expect("the component was built")
}

async fn fifty_swaps_fail_no_call(isolation: Isolation) {
    const SWAPS: usize = 50;
    const CLIENTS: usize = 4;
    let live = LiveFile::copy_of(&components().faults);
    let host = Arc::new(
        Setup::of(Plugin::faults(isolation).file(&live.path))
            .start()
            .await,
    );
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (host, stop) = (host.clone(), stop.clone());
            tokio::spawn(async move {
                let mut calls = [0u64; 2];
                while !stop.load(Ordering::Relaxed) {
                    match version(&host).await.as_str() {
                        "1" => calls[0] += 1,
                        "2" => calls[1] += 1,
                        other => panic!("version {other}"),
                    }
                }
                calls
            })
        })
        .collect();

    let versions = [
        ("2", bytes(&components().faults_2)),
        ("1", bytes(&components().faults)),
    ];
    for swap in 0..SWAPS {
        let (expected, bytes) = &versions[swap % 2];
        let before = host.log.len();
        if swap % 4 < 2 {
            live.rename_over(bytes);
        } else {
            live.write_in_place(bytes);
        }
        until_live(&host, before, expected).await;
        assert_eq!(
            version(&host).await,
            *expected,
            "the first call after swap {swap}"
        );
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let calls = client.await.expect("no call failed");
        assert!(calls.iter().all(|calls| *calls > 0), "{calls:?}");
    }

    // Every version but the last is dropped after its last call.
    let unloaded = |line: &Line| line.message() == "unloaded";
    let host = Arc::into_inner(host).expect("the clients have ended");
    until_some("the old versions are unloaded", async || {
        (host.log.all(unloaded).len() == SWAPS).then_some(())
    })
    .await;
    let log = host.log.clone();
    host.stop().await;
    assert!(
        log.all(|line| line.message().contains("call failed")).is_empty(),
        "{}",
        log.text()
    );
}

async fn calls_in_flight_finish_on_their_version(isolation: Isolation) {
    let live = LiveFile::copy_of(&components().faults);
    let host = Setup::of(Plugin::faults(isolation).file(&live.path))
        .start()
        .await;
    let raw = host.raw().await;
    // A call is routed when its headers arrive, so one that holds its message back is in flight for as long
    // as the test likes. The whole call behind it, on the same connection, arrives later than its headers.
    let slow = raw.call_slowly(COUNT, &[]);
    let first = raw.unary(COUNT, &[], &CountRequest {}).await;
    assert_eq!(first.message::<CountResponse>().version, "1");

    let before = host.log.len();
    live.rename_over(&bytes(&components().faults_2));
    until_live(&host, before, "2").await;
    assert_eq!(version(&host).await, "2");
    let unloaded = |line: &Line| line.message() == "unloaded";
    assert!(
        host.log.all(unloaded).is_empty(),
        "the old version still has a call"
    );

    let answer = slow.finish(&CountRequest {}).await;
    assert_eq!(answer.headers["faults-version"], "1");
    assert_eq!(answer.message::<CountResponse>().version, "1");
    let line = host.log.wait_for("the old version is unloaded", unloaded).await;
    assert_eq!(line.field("generation"), 1);
    host.stop().await;
}

async fn services_follow_a_swap(isolation: Isolation) {
    const FAULTS: &str = "faults.v1.Faults";
    const ORDERS: &str = "order.v1.OrderService";
    let live = LiveFile::copy_of(&components().faults);
    let host = Setup::of(Plugin::faults(isolation).file(&live.path))
        .start()
        .await;
    let has = |services: &[String], name: &str| services.iter().any(|service| service == name);
    let listed = services(&host).await;
    assert!(has(&listed, FAULTS) && !has(&listed, ORDERS), "{listed:?}");
    assert_eq!(host.health_of(ORDERS).await, None);

    live.rename_over(&bytes(&components().order));
    host.wait_until(ORDERS, ServingStatus::Serving).await;
    until_some("the old service is gone", async || {
        host.health_of(FAULTS).await.is_none().then_some(())
    })
    .await;
    let listed = services(&host).await;
    assert!(has(&listed, ORDERS) && !has(&listed, FAULTS), "{listed:?}");
    let gone = host.faults().count(CountRequest {}).await.expect_err("gone");
    assert_eq!(gone.code(), tonic::Code::Unimplemented);
    host.orders()
        .create_order(crate::orders::order("new"))
        .await
        .expect("served now");
    host.stop().await;
}

async fn state_outlives_a_swap(isolation: Isolation) {
    let live = LiveFile::copy_of(&components().faults);
    let host = Setup::of(Plugin::faults(isolation).file(&live.path))
        .start()
        .await;
    let increment = async || {
        let request = IncrementRequest {
            key: "counter".into(),
            wait_milliseconds: 0,
        };
        host.faults()
            .increment(request)
            .await
            .expect("incremented")
            .into_inner()
            .value
    };
    assert_eq!(increment().await, 1);
    let before = host.log.len();
    live.write_in_place(&bytes(&components().faults_2));
    until_live(&host, before, "2").await;
    assert_eq!(
        increment().await,
        2,
        "the store goes by the operator's name for the plugin"
    );
    host.stop().await;
}

async fn saving_the_same_bytes_swaps_nothing(isolation: Isolation) {
    let live = LiveFile::copy_of(&components().faults);
    let host = Setup::of(Plugin::faults(isolation).file(&live.path))
        .start()
        .await;
    live.rename_over(&bytes(&components().faults));
    live.write_in_place(&bytes(&components().faults));
    // What comes after it is noticed, so this was too.
    let before = host.log.len();
    live.rename_over(&bytes(&components().faults_2));
    let line = until_live(&host, before, "2").await;
    assert_eq!(line.field("generation"), 2);
    host.stop().await;
}

/// As Kubernetes replaces the files of a mounted volume: they are links through a link that is renamed over.
async fn mounted_folders_are_swapped_whole(isolation: Isolation) {
    let folder = tempfile::tempdir().expect("a folder");
    let mount = |name: &str, component: &Path| {
        let contents = folder.path().join(name);
        fs::create_dir(&contents).expect("it is new");
        fs::copy(component, contents.join("live.wasm")).expect("the component was built");
        symlink(&contents, folder.path().join("..data_tmp")).expect("it is new");
        fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).expect("it is ours");
    };
    mount("..1", &components().faults);
    let live = folder.path().join("live.wasm");
    symlink("..data/live.wasm", &live).expect("it is new");
    let host = Setup::of(Plugin::faults(isolation).file(&live)).start().await;
    assert_eq!(version(&host).await, "1");
    let before = host.log.len();
    mount("..2", &components().faults_2);
    until_live(&host, before, "2").await;
    assert_eq!(version(&host).await, "2");
    host.stop().await;
}

/// A file that is whole when it appears is not waited for until it is quiet: here it never is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_whole_is_loaded_while_it_keeps_changing() {
    type Save = fn(&LiveFile, &[u8]);
    let ways: [(&str, Save); 3] = [
        ("renamed", LiveFile::rename_over),
        ("linked", LiveFile::link_over),
        ("written and closed", LiveFile::write_in_place),
    ];
    let live = Arc::new(LiveFile::copy_of(&components().faults));
    let host = Setup::of(Plugin::faults(Isolation::Call).file(&live.path))
        .start()
        .await;
    let versions = [
        ("1", bytes(&components().faults)),
        ("2", bytes(&components().faults_2)),
    ];
    for (turn, (way, save)) in (1..).zip(ways) {
        let (expected, bytes) = versions[turn % 2].clone();
        let before = host.log.len();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, live) = (stop.clone(), live.clone());
        let saving = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                save(&live, &bytes);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        until_live(&host, before, expected).await;
        assert_eq!(version(&host).await, expected, "{way}");
        stop.store(true, Ordering::Relaxed);
        saving.join().expect("it saves");
    }
    host.stop().await;
}

/// Whatever is made of the half, it is the whole that turns live.
#[tokio::test]
async fn a_file_that_is_written_slowly_turns_live_when_it_is_closed() {
    let live = LiveFile::copy_of(&components().faults);
    let host = Setup::of(Plugin::faults(Isolation::Call).file(&live.path))
        .start()
        .await;
    let bytes = bytes(&components().faults_2);
    let (begin, rest) = bytes.split_at(bytes.len() / 2);
    let before = host.log.len();
    let mut file = fs::File::create(&live.path).expect("the folder is ours");
    for part in begin.chunks(begin.len() / 8) {
        file.write_all(part).expect("there is room");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(version(&host).await, "1");
    }
    file.write_all(rest).expect("there is room");
    drop(file);
    until_live(&host, before, "2").await;
    assert_eq!(version(&host).await, "2");
    host.stop().await;
}
