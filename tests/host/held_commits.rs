//! Calls that are cancelled or expire while their commit waits, or after it was accepted, on a disk that stands still;
//! and what their clients hear of them meanwhile.

use tokio::task::JoinHandle;
use tonic::Code;

use crate::in_both_modes;
use crate::support::crafted::{Crafted, EMPTY};
use crate::support::disk::Faults;
use crate::support::embedded::Embedded;
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, FrameClient, HEADERS, Received, block, frame};
use crate::support::pb::faults::write_then_request::Ending;
use crate::support::pb::faults::*;
use crate::support::raw::{RawAnswer, RawClient, framed_bytes};
use crate::support::{Isolation, Plugin, Setup, until_some};

in_both_modes!(
    a_cancelled_call_commits_if_it_was_accepted,
    a_late_call_commits_if_it_was_accepted,
    initial_metadata_waits_for_the_commit,
    a_failed_fsync_is_an_unknown_outcome_and_nothing_is_taken_after_it,
);

const WRITE: &str = "/faults.v1.Faults/WriteThen";

/// A call whose handler writes and answers OK.
fn write(client: &RawClient, key: &str) -> JoinHandle<RawAnswer> {
    write_within(client, key, "1H")
}

/// The same, with a `grpc-timeout`.
fn write_within(client: &RawClient, key: &str, timeout: &str) -> JoinHandle<RawAnswer> {
    let (client, key, timeout) = (client.clone(), key.to_owned(), timeout.to_owned());
    tokio::spawn(async move {
        let request = WriteThenRequest {
            value: key.clone().into_bytes(),
            key,
            ending: Ending::Ok.into(),
        };
        client.unary(WRITE, &[("grpc-timeout", &timeout)], &request).await
    })
}

async fn read(client: &RawClient, key: &str) -> Option<Vec<u8>> {
    let request = ReadRequest { key: key.into() };
    let answer = client.unary("/faults.v1.Faults/Read", &[], &request).await;
    answer.message::<ReadResponse>().value
}

/// Whether so many calls hold a place, and commits of so many bytes wait in the queue.
async fn there_are(host: &Embedded, admitted: f64, queued: impl Fn(f64) -> bool) -> bool {
    let metrics = host.metrics().await;
    let now = |name| metrics.value(name, &[]).expect("it is always there");
    now("mortise_calls_admitted") == admitted && queued(now("mortise_store_queue_bytes"))
}

async fn until_there_are(host: &Embedded, admitted: f64, queued: impl Fn(f64) -> bool) {
    until_some("calls at that point", async || {
        there_are(host, admitted, &queued).await.then_some(())
    })
    .await;
}

/// The same, while `call` has no answer yet. False if it had one before.
async fn there_are_before_the_end_of(
    call: &JoinHandle<RawAnswer>,
    host: &Embedded,
    admitted: f64,
    queued: impl Fn(f64) -> bool,
) -> bool {
    until_some("calls at that point, or an answer", async || {
        let reached = there_are(host, admitted, &queued).await;
        (reached || call.is_finished()).then_some(reached)
    })
    .await
}

/// The events of earlier calls are delivered and forgotten, so that no other commit is under way.
async fn until_all_is_delivered(host: &Embedded) {
    until_some("the delivery", async || {
        let undelivered = host.metrics().await.value("mortise_events_undelivered", &[]);
        (undelivered == Some(0.0)).then_some(())
    })
    .await;
}

/// A host with so many places, where what the delivery of events writes waits for the next commit.
fn setup(plugin: Plugin, places: u32) -> Setup {
    Setup::of(plugin)
        .with(&format!("[server]\nmax_concurrent_calls = {places}"))
        .with("[store]\nrelaxed_window_ms = 60000")
}

async fn a_cancelled_call_commits_if_it_was_accepted(isolation: Isolation) {
    let faults = Faults::default();
    let host = setup(Plugin::faults(isolation), 2).embed(faults.disk()).await;
    let client = host.raw().await;
    assert_eq!(write(&client, "before").await.expect("no panic").code(), Code::Ok);
    until_all_is_delivered(&host).await;

    let stalled = faults.stall();
    let accepted = write(&client, "accepted");
    until_there_are(&host, 1.0, |bytes| bytes == 0.0).await;
    until_some("an fsync", async || stalled.holds().then_some(())).await;
    let waiting = write(&client, "waiting");
    until_there_are(&host, 2.0, |bytes| bytes > 0.0).await;

    for call in [accepted, waiting] {
        call.abort();
        assert!(call.await.expect_err("it was aborted").is_cancelled());
    }
    // Both have left their places to others, while the disk still stands still.
    until_there_are(&host, 0.0, |bytes| bytes > 0.0).await;
    assert_eq!(read(&client, "accepted").await, None);

    drop(stalled);
    until_there_are(&host, 0.0, |bytes| bytes == 0.0).await;
    // Comes after both.
    assert_eq!(write(&client, "after").await.expect("no panic").code(), Code::Ok);
    for (key, stands) in [
        ("before", true),
        ("accepted", true),
        ("waiting", false),
        ("after", true),
    ] {
        assert_eq!(read(&client, key).await, stands.then(|| key.into()), "{key}");
    }
    let metrics = host.metrics().await;
    let published = metrics.value("mortise_events_published_total", &[("plugin", "faults")]);
    assert_eq!(published, Some(3.0));
    host.stop().await;
}

/// As `docs/errors/DEADLINE_EXCEEDED.md` promises.
async fn a_late_call_commits_if_it_was_accepted(isolation: Isolation) {
    let faults = Faults::default();
    let host = setup(Plugin::faults(isolation), 2).embed(faults.disk()).await;
    let client = host.raw().await;
    assert_eq!(write(&client, "before").await.expect("no panic").code(), Code::Ok);
    // On a busy machine a call may expire before its commit is asked for: it gets more time then.
    for seconds in [1, 5, 25] {
        until_all_is_delivered(&host).await;
        if expire(&host, &client, &faults, seconds).await {
            return host.stop().await;
        }
    }
    panic!("calls expired before they came to their commit");
}

/// False if a call was late before its commit was accepted, or waited.
async fn expire(host: &Embedded, client: &RawClient, faults: &Faults, seconds: u32) -> bool {
    let timeout = format!("{seconds}S");
    let keys = ["accepted", "waiting"].map(|what| format!("{what}, {timeout}"));
    let stalled = faults.stall();
    let accepted = write_within(client, &keys[0], &timeout);
    let no_bytes = |bytes| bytes == 0.0 && stalled.holds();
    if !there_are_before_the_end_of(&accepted, host, 1.0, no_bytes).await {
        return false;
    }
    let waiting = write_within(client, &keys[1], &timeout);
    if !there_are_before_the_end_of(&waiting, host, 2.0, |bytes| bytes > 0.0).await {
        return false;
    }

    // Neither waits for the disk, and both hear the same.
    for call in [accepted, waiting] {
        let late = call.await.expect("no panic");
        assert_eq!(
            (late.code(), &*late.reason()),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
        );
    }
    until_there_are(host, 0.0, |bytes| bytes > 0.0).await;

    drop(stalled);
    until_there_are(host, 0.0, |bytes| bytes == 0.0).await;
    // Comes after both.
    assert_eq!(write(client, "after").await.expect("no panic").code(), Code::Ok);
    assert_eq!(read(client, &keys[0]).await, Some(keys[0].clone().into_bytes()));
    assert_eq!(read(client, &keys[1]).await, None);
    true
}

/// `Write` reads and writes the key that its request is, and says in its metadata which attempt it is. `Fine` does
/// nothing.
fn metadata_and_writes() -> Crafted {
    const WRITE: &str = r"
        (call $get (local.get $request) (local.get $length) (i32.const 64))
        (call $must_be_taken)
        (call $put (local.get $request) (local.get $length) (i32.const 512) (i32.const 7) (i32.const 64))
        (call $must_be_taken)
        (i32.store8 (i32.const 640) (i32.add (i32.const 48) (call $attempt)))
        (call $add_initial (i32.const 512) (i32.const 7) (i32.const 640) (i32.const 1) (i32.const 64))
        (call $must_be_taken)
        (call $add_trailing (i32.const 512) (i32.const 7) (i32.const 640) (i32.const 1) (i32.const 64))
        (call $must_be_taken)
        (i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 8) (i32.const 0)) (i32.const 0)";
    let mut crafted = Crafted::serving(SERVICE, &[("Write", WRITE), ("Fine", EMPTY)]);
    crafted.imports = r#"
        (import "mortise:plugin/store@0.1.0" "get" (func $get (param i32 i32 i32)))
        (import "mortise:plugin/store@0.1.0" "put" (func $put (param i32 i32 i32 i32 i32)))
        (import "mortise:plugin/call@0.1.0" "attempt" (func $attempt (result i32)))
        (import "mortise:plugin/call@0.1.0" "add-initial-metadata"
          (func $add_initial (param i32 i32 i32 i32 i32)))
        (import "mortise:plugin/call@0.1.0" "add-trailing-metadata"
          (func $add_trailing (param i32 i32 i32 i32 i32)))"#
        .to_owned();
    crafted.fields = r#"
        (data (i32.const 512) "attempt")
        (func $must_be_taken (if (i32.load8_u (i32.const 64)) (then unreachable)))"#
        .to_owned();
    crafted
}

const SERVICE: &str = "crafted.v1.Held";

/// A call with this message, in frames.
fn call_in_frames(stream: u32, method: &str, message: &[u8]) -> Vec<u8> {
    let headers = frame(
        HEADERS,
        END_HEADERS,
        stream,
        &block(&format!("/{SERVICE}/{method}")),
    );
    let data = frame(DATA, END_STREAM, stream, &framed_bytes(0, message));
    [headers, data].concat()
}

/// The frames up to the end of a stream.
async fn frames_to_the_end(client: &mut FrameClient, stream: u32) -> Vec<Received> {
    let mut frames = Vec::new();
    loop {
        let received = client.next().await.expect("the host goes on");
        let ends = received.stream == stream && received.flags & END_STREAM != 0;
        frames.push(received);
        if ends {
            return frames;
        }
    }
}

async fn initial_metadata_waits_for_the_commit(isolation: Isolation) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("held.wasm");
    metadata_and_writes().write_to(&file);
    let plugin = Plugin::crafted("held", SERVICE, &file, isolation);
    let faults = Faults::default();
    let host = setup(plugin, 8).embed(faults.disk()).await;
    let client = host.raw().await;
    let write = |key: &'static str| {
        let client = client.clone();
        let path = format!("/{SERVICE}/Write");
        tokio::spawn(async move { client.call(&path, &[], framed_bytes(0, key.as_bytes())).await })
    };
    let queued_bytes = async || {
        let queued = host.metrics().await.value("mortise_store_queue_bytes", &[]);
        queued.expect("it is always there")
    };

    let stalled = faults.stall();
    let mut frames = FrameClient::begin(host.address()).await;
    frames.send(&call_in_frames(1, "Write", b"contested")).await;
    until_there_are(&host, 1.0, |bytes| bytes == 0.0 && stalled.holds()).await;
    // Has read what the first one is about to change.
    let rival = write("contested");
    until_there_are(&host, 2.0, |bytes| bytes > 0.0).await;
    let before = queued_bytes().await;
    let other = write("another");
    until_there_are(&host, 3.0, |bytes| bytes > before).await;
    let before = queued_bytes().await;
    frames.send(&call_in_frames(3, "Write", b"a third")).await;
    until_there_are(&host, 4.0, |bytes| bytes > before).await;
    // What this one is sent comes after whatever the others were sent.
    frames.send(&call_in_frames(5, "Fine", b"")).await;
    let received = frames_to_the_end(&mut frames, 5).await;
    let early = received.iter().find(|frame| [1, 3].contains(&frame.stream));
    assert_eq!(early, None, "before the commit");
    assert!(!rival.is_finished() && !other.is_finished());

    drop(stalled);
    let received = frames_to_the_end(&mut frames, 1).await;
    let kinds = received
        .iter()
        .filter(|frame| frame.stream == 1)
        .map(|frame| frame.kind);
    assert_eq!(kinds.collect::<Vec<_>>(), [HEADERS, DATA, HEADERS]);
    // Of the attempt that met the conflict nothing is left.
    for (call, attempt) in [(other, "1"), (rival, "2")] {
        let answer = call.await.expect("no panic");
        assert_eq!(answer.code(), Code::Ok);
        for block in [&answer.headers, answer.trailers.as_ref().expect("trailers")] {
            assert_eq!(block.get_all("attempt").iter().collect::<Vec<_>>(), [attempt]);
        }
    }
    host.stop().await;
}

async fn a_failed_fsync_is_an_unknown_outcome_and_nothing_is_taken_after_it(isolation: Isolation) {
    let faults = Faults::default();
    // So that the call is the first to need the disk.
    let setup = Setup::of(Plugin::faults(isolation)).with("[store]\nrelaxed_window_ms = 60000");
    let host = setup.embed(faults.disk()).await;
    let client = host.raw().await;
    faults.fail_sync();
    let unknown = write(&client, "unknown").await.expect("no panic");
    assert_eq!(
        (unknown.code(), &*unknown.reason()),
        (Code::Unknown, "COMMIT_UNKNOWN")
    );
    let refused = write(&client, "after").await.expect("no panic");
    assert_eq!(refused.code(), Code::Unavailable);
    let up = host.metrics().await.value("mortise_store_up", &[]);
    assert_eq!(up, Some(0.0));
    host.stop().await;
}
