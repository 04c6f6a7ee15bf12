//! Files that cannot be served: refused with the reason, and what was served goes on.

use std::fs;

use crate::in_both_modes;
use crate::support::live::patched;
use crate::support::log::Line;
use crate::support::pb::faults::*;
use crate::support::{Host, Isolation, LiveFile, Neighbour, Plugin, Setup, components};
use crate::swap::until_live;

in_both_modes!(
    bad_files_change_nothing,
    a_half_written_file_is_completed,
    a_deleted_file_keeps_serving,
    a_claimed_service_is_refused,
);

const LIMIT: usize = 2 << 20;

/// What is no plugin, and what the operator reads of it.
pub(crate) fn bad_files() -> Vec<(&'static str, Vec<u8>)> {
    let good = fs::read(&components().faults_2).expect("the component was built");
    let mut oversized = good.clone();
    oversized.resize(LIMIT + 1, 0);
    vec![
        ("is not WebAssembly", b"#!/bin/sh\necho hello\n".to_vec()),
        ("the file is empty", Vec::new()),
        ("is a core module, not a component", b"\0asm\x01\0\0\0".to_vec()),
        (
            "does not export mortise:plugin/handler",
            b"\0asm\x0d\0\x01\0".to_vec(),
        ),
        ("damaged or incomplete", good[..good.len() / 2].to_vec()),
        ("damaged or incomplete", [&good[..], b"trailing garbage"].concat()),
        ("over the limit", oversized),
        (
            "is written for version 9.1.0",
            patched(&good, "plugin/handler@0.1.0", "plugin/handler@9.1.0"),
        ),
        (
            "imports mortise:plugin/limitz@0.1.0",
            patched(
                &good,
                "mortise:plugin/limits@0.1.0",
                "mortise:plugin/limitz@0.1.0",
            ),
        ),
        (
            "descriptors do not parse",
            patched(&good, ".faults.v1.EchoRequest", ".faults.v1.EchoRequesX"),
        ),
        (
            "describes method /faults.v1.Faults/Trap, which its descriptors do not have",
            patched(&good, "\x0a\x04Trap\x12", "\x0a\x04Trip\x12"),
        ),
    ]
}

pub(crate) fn bounded(plugin: Plugin) -> Plugin {
    plugin.key("max_component_bytes", LIMIT)
}

async fn version(host: &Host) -> String {
    host.faults()
        .count(CountRequest {})
        .await
        .expect("answered")
        .into_inner()
        .version
}

async fn until_refused(host: &Host, skip: usize, reason: &str) {
    let refused = |line: &Line| {
        line.level() == "ERROR"
            && line.message().starts_with("not loaded, nothing changed")
            && line.message().contains(reason)
    };
    host.log.wait_for_after(skip, reason, refused).await;
}

async fn bad_files_change_nothing(isolation: Isolation) {
    let live = LiveFile::copy_of(&components().faults);
    let host = Setup::of(bounded(Plugin::faults(isolation).file(&live.path)))
        .start()
        .await;
    let neighbour = Neighbour::of(&host);
    for (reason, bytes) in bad_files() {
        let before = host.log.len();
        live.rename_over(&bytes);
        until_refused(&host, before, reason).await;
        assert_eq!(version(&host).await, "1", "{reason}");
    }
    neighbour.fared_well().await;
    let before = host.log.len();
    live.rename_over(&fs::read(&components().faults_2).expect("the component was built"));
    until_live(&host, before, "2").await;
    assert_eq!(version(&host).await, "2");
    host.stop().await;
}

async fn a_half_written_file_is_completed(isolation: Isolation) {
    let live = LiveFile::copy_of(&components().faults);
    let host = Setup::of(Plugin::faults(isolation).file(&live.path))
        .start()
        .await;
    let good = fs::read(&components().faults_2).expect("the component was built");
    let before = host.log.len();
    live.write_in_place(&good[..good.len() / 2]);
    until_refused(&host, before, "damaged or incomplete").await;
    assert_eq!(version(&host).await, "1");
    let before = host.log.len();
    live.write_in_place(&good);
    until_live(&host, before, "2").await;
    assert_eq!(version(&host).await, "2");
    host.stop().await;
}

async fn a_deleted_file_keeps_serving(isolation: Isolation) {
    let live = LiveFile::copy_of(&components().faults);
    let host = Setup::of(Plugin::faults(isolation).file(&live.path))
        .start()
        .await;
    let before = host.log.len();
    live.delete();
    until_refused(&host, before, "cannot read").await;
    assert_eq!(version(&host).await, "1");
    let before = host.log.len();
    live.write_in_place(&fs::read(&components().faults_2).expect("the component was built"));
    until_live(&host, before, "2").await;
    host.stop().await;
}

async fn a_claimed_service_is_refused(isolation: Isolation) {
    let live = LiveFile::copy_of(&components().order);
    let order = Plugin::order(isolation).file(&live.path);
    let host = Setup::of(Plugin::faults(isolation)).and(order).start().await;
    let before = host.log.len();
    live.rename_over(&fs::read(&components().faults_2).expect("the component was built"));
    until_refused(
        &host,
        before,
        "claims the service faults.v1.Faults, which plugin faults serves already",
    )
    .await;
    assert_eq!(version(&host).await, "1");
    host.orders()
        .create_order(crate::orders::order("still-here"))
        .await
        .expect("still served");
    host.stop().await;
}
