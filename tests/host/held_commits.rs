//! Calls that are cancelled while their commit waits, or after it was accepted, on a disk that stands still.

use tokio::task::JoinHandle;
use tonic::Code;

use crate::in_both_modes;
use crate::support::disk::Faults;
use crate::support::embedded::Embedded;
use crate::support::pb::faults::write_then_request::Ending;
use crate::support::pb::faults::*;
use crate::support::raw::{RawAnswer, RawClient};
use crate::support::{Isolation, Plugin, Setup, until_some};

in_both_modes!(
    a_cancelled_call_commits_if_it_was_accepted,
    a_failed_fsync_is_an_unknown_outcome_and_nothing_is_taken_after_it,
);

const WRITE: &str = "/faults.v1.Faults/WriteThen";

/// A call whose handler writes and answers OK.
fn write(client: &RawClient, key: &str) -> JoinHandle<RawAnswer> {
    let (client, key) = (client.clone(), key.to_owned());
    tokio::spawn(async move {
        let request = WriteThenRequest {
            value: key.clone().into_bytes(),
            key,
            ending: Ending::Ok.into(),
        };
        client.unary(WRITE, &[], &request).await
    })
}

async fn read(client: &RawClient, key: &str) -> Option<Vec<u8>> {
    let request = ReadRequest { key: key.into() };
    let answer = client.unary("/faults.v1.Faults/Read", &[], &request).await;
    answer.message::<ReadResponse>().value
}

/// Waits until so many calls hold a place, and commits of so many bytes wait in the queue.
async fn until_there_are(host: &Embedded, admitted: f64, queued: impl Fn(f64) -> bool) {
    until_some("calls at that point", async || {
        let metrics = host.metrics().await;
        let now = |name| metrics.value(name, &[]).expect("it is always there");
        let reached = now("mortise_calls_admitted") == admitted && queued(now("mortise_store_queue_bytes"));
        reached.then_some(())
    })
    .await;
}

async fn a_cancelled_call_commits_if_it_was_accepted(isolation: Isolation) {
    let faults = Faults::default();
    let setup = Setup::of(Plugin::faults(isolation)).with("[server]\nmax_concurrent_calls = 2");
    // What the delivery of events writes waits for the next commit.
    let setup = setup.with("[store]\nrelaxed_window_ms = 60000");
    let host = setup.embed(faults.disk()).await;
    let client = host.raw().await;
    assert_eq!(write(&client, "before").await.expect("no panic").code(), Code::Ok);
    // The event of that call is delivered and forgotten, so that no other commit is under way.
    until_some("the delivery", async || {
        let undelivered = host.metrics().await.value("mortise_events_undelivered", &[]);
        (undelivered == Some(0.0)).then_some(())
    })
    .await;

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
