//! Compiled plugins on disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::log::Line;
use crate::support::pb::faults::CountRequest;
use crate::support::{Host, Isolation, Plugin, Setup};

fn setup(data: &Path) -> Setup {
    Setup::of(Plugin::faults(Isolation::Call))
        .data(data)
        .cache("")
        .filter("mortise=debug")
}

/// Whether the plugin came from the cache.
async fn cached(host: &Host) -> bool {
    let line = host
        .log
        .wait_for("loaded", |line: &Line| line.message() == "loaded")
        .await;
    line.field("cached").as_bool().expect("it says")
}

fn entries(data: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(data.join("cache")).expect("the cache is in the data folder");
    let files = files.map(|file| file.expect("it is listed").path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
        .collect()
}

#[tokio::test]
async fn the_second_start_does_not_compile() {
    let data = tempfile::tempdir().expect("a folder");
    for expected in [false, true] {
        let host = setup(data.path()).start().await;
        assert_eq!(cached(&host).await, expected);
        host.faults().count(CountRequest {}).await.expect("it serves");
        host.stop().await;
    }
    assert_eq!(entries(data.path()).len(), 1);
}

#[tokio::test]
async fn a_changed_entry_is_ignored() {
    let data = tempfile::tempdir().expect("a folder");
    setup(data.path()).start().await.stop().await;
    let [entry] = entries(data.path()).try_into().expect("one entry");
    let mut bytes = fs::read(&entry).expect("it is ours");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&entry, bytes).expect("it is ours");

    let host = setup(data.path()).start().await;
    assert!(!cached(&host).await);
    let warned = host
        .log
        .all(|line| line.level() == "WARN" && line.message().contains("ignored"));
    assert_eq!(warned.len(), 1, "{}", host.log.text());
    host.faults().count(CountRequest {}).await.expect("it serves");
    host.stop().await;
    // It was made again.
    let host = setup(data.path()).start().await;
    assert!(cached(&host).await);
    host.stop().await;
}

#[tokio::test]
async fn the_cache_can_be_turned_off() {
    let data = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let host = setup(data.path()).cache("[cache]\nenabled = false").start().await;
        assert!(!cached(&host).await);
        host.stop().await;
    }
    assert!(!data.path().join("cache").exists());
}

#[tokio::test]
async fn code_of_one_compiler_is_not_what_a_host_with_the_other_runs() {
    let data = tempfile::tempdir().expect("a folder");
    let (winch, cranelift) = ("winch", "cranelift");
    for (compiler, expected) in [
        (winch, false),
        (cranelift, false),
        (winch, true),
        (cranelift, true),
    ] {
        let section = format!("[engine]\ncompiler = \"{compiler}\"");
        let host = setup(data.path()).cache(&section).start().await;
        assert_eq!(cached(&host).await, expected, "{compiler}");
        host.faults().count(CountRequest {}).await.expect("it serves");
        host.stop().await;
    }
}

#[tokio::test]
async fn hosts_can_share_a_cache_from_the_start() {
    let shared = tempfile::tempdir().expect("a folder");
    let section = format!("[cache]\ndir = {:?}", shared.path().join("cache"));
    let start = async || {
        Setup::of(Plugin::faults(Isolation::Call))
            .cache(&section)
            .start()
            .await
    };
    let (one, two, three) = tokio::join!(start(), start(), start());
    for host in [one, two, three] {
        let warned = host.log.all(|line| line.level() == "WARN");
        assert!(warned.is_empty(), "{}", host.log.text());
        host.stop().await;
    }
}
