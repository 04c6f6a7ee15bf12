//! Scans that read for long, on a host whose only worker thread must serve others meanwhile.

use std::pin::pin;

use tonic::Code;

use crate::support::disk::Faults;
use crate::support::embedded::Embedded;
use crate::support::pb::faults::run_program_request::{Scan, Step, step::Step as Kind};
use crate::support::pb::faults::{Row, RunProgramRequest, RunProgramResponse};
use crate::support::raw::{RawAnswer, RawClient};
use crate::support::{Isolation, Plugin, Setup, until_some};

const VALUE_BYTES: usize = 8 << 10;
const ENTRIES: u32 = 300;

async fn run(client: &RawClient, timeout: &str, steps: impl IntoIterator<Item = Kind>) -> RawAnswer {
    let steps = steps.into_iter().map(|step| Step { step: Some(step) });
    let request = RunProgramRequest {
        steps: steps.collect(),
        fail: false,
    };
    let headers = [("grpc-timeout", timeout)];
    client
        .unary("/faults.v1.Faults/RunProgram", &headers, &request)
        .await
}

fn key(number: u32) -> Vec<u8> {
    format!("{number:03}").into_bytes()
}

/// Reads `limit` entries, the first ones first.
fn scan(limit: u32) -> [Kind; 1] {
    let (start, end) = (Vec::new(), None);
    [Kind::Scan(Scan {
        start,
        end,
        descending: false,
        limit,
    })]
}

async fn until_admitted(host: &Embedded, calls: f64) {
    until_some("so many calls", async || {
        let admitted = host.metrics().await.value("mortise_calls_admitted", &[]);
        (admitted == Some(calls)).then_some(())
    })
    .await;
}

// Its runtime has one thread, which is the host's, too.
#[tokio::test]
async fn a_long_scan_holds_up_no_other_call_and_ends_with_its_own() {
    let faults = Faults::default();
    let setup = Setup::of(Plugin::faults(Isolation::Call));
    let setup = setup.with("[store]\nread_threads = 1\ncache_bytes = 1048576");
    let host = setup.embed(faults.disk()).await;
    let client = host.raw().await;
    for begin in (0..ENTRIES).step_by(100) {
        let rows = (begin..begin + 100).map(|number| Row {
            key: key(number),
            value: vec![7; VALUE_BYTES],
            version: 0,
        });
        assert_eq!(run(&client, "60S", rows.map(Kind::Put)).await.code(), Code::Ok);
    }

    let stalled = faults.stall_blocking_reads();
    let mut reading = pin!(run(&client, "3S", scan(ENTRIES)));
    let held = until_some("a read elsewhere", async || stalled.holds().then_some(()));
    tokio::select! {
        answer = &mut reading => panic!("the disk stands still: {answer:?}"),
        () = held => {}
    }
    // While it reads: others are served, their short scans included.
    let answer = run(&client, "60S", scan(3)).await;
    assert_eq!(answer.message::<RunProgramResponse>().seen[0].rows.len(), 3);
    // In the middle of reading.
    assert_eq!(reading.await.code(), Code::DeadlineExceeded);
    // The thread still reads, so this one waits for it.
    assert_eq!(
        run(&client, "100m", scan(ENTRIES)).await.code(),
        Code::DeadlineExceeded
    );
    until_admitted(&host, 0.0).await;
    let cancelled = {
        let client = client.clone();
        tokio::spawn(async move { run(&client, "60S", scan(ENTRIES)).await })
    };
    until_admitted(&host, 1.0).await;
    cancelled.abort();
    until_admitted(&host, 0.0).await;

    drop(stalled);
    let answer = run(&client, "60S", scan(ENTRIES)).await;
    let rows = &answer.message::<RunProgramResponse>().seen[0].rows;
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.key.clone(), row.value.len()))
        .collect();
    let expected: Vec<_> = (0..ENTRIES).map(|number| (key(number), VALUE_BYTES)).collect();
    assert!(found == expected, "{} entries", found.len());
    host.stop().await;
}
