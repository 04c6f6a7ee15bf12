//! What is left in memory from one call to the next: nothing, or with `isolation = "reuse"` what a call that
//! ended well has left.

mod secrets;

use crate::support::pb::faults::*;
use crate::support::{Host, Isolation, Plugin, Setup};

async fn count(host: &Host) -> u64 {
    host.faults()
        .count(CountRequest {})
        .await
        .expect("counted")
        .into_inner()
        .calls
}

async fn counts(host: &Host, calls: usize) -> Vec<u64> {
    let mut counts = Vec::new();
    for _ in 0..calls {
        counts.push(count(host).await);
    }
    counts
}

#[tokio::test]
async fn with_call_every_call_is_the_first() {
    let host = Setup::of(Plugin::faults(Isolation::Call)).start().await;
    assert_eq!(counts(&host, 20).await, [1; 20]);
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let mut faults = host.faults();
            tokio::spawn(async move { faults.count(CountRequest {}).await })
        })
        .collect();
    for call in calls {
        assert_eq!(
            call.await.expect("no panic").expect("counted").into_inner().calls,
            1
        );
    }
    host.stop().await;
}

#[tokio::test]
async fn with_reuse_a_sandbox_serves_until_it_fails() {
    let host = Setup::of(Plugin::faults(Isolation::Reuse)).start().await;
    let mut faults = host.faults();
    assert_eq!(counts(&host, 3).await, [1, 2, 3]);
    // A status is no failure of the sandbox.
    faults
        .fail(FailRequest {
            code: 3,
            ..FailRequest::default()
        })
        .await
        .expect_err("as told");
    assert_eq!(count(&host).await, 4);

    faults.panic(PanicRequest::default()).await.expect_err("a panic");
    assert_eq!(counts(&host, 2).await, [1, 2]);
    faults.trap(TrapRequest {}).await.expect_err("a trap");
    assert_eq!(counts(&host, 2).await, [1, 2]);
    faults.exit(ExitRequest { code: 0 }).await.expect_err("an exit");
    assert_eq!(counts(&host, 2).await, [1, 2]);
    faults.recurse(RecurseRequest {}).await.expect_err("too deep");
    assert_eq!(counts(&host, 2).await, [1, 2]);
    let huge = HugeAnswerRequest { bytes: 11 << 20 };
    faults.huge_answer(huge).await.expect_err("too large");
    assert_eq!(counts(&host, 2).await, [1, 2]);
    let raw = host.raw().await;
    for (path, timeout) in [
        ("/faults.v1.Faults/Loop", "200m"),
        ("/faults.v1.Faults/Sleep", "200m"),
    ] {
        let sleep = SleepRequest {
            milliseconds: 3_600_000,
        };
        let late = raw.unary(path, &[("grpc-timeout", timeout)], &sleep).await;
        assert_eq!(late.code(), tonic::Code::DeadlineExceeded);
        assert_eq!(counts(&host, 2).await, [1, 2], "after {path}");
    }
    host.stop().await;
}

#[tokio::test]
async fn with_reuse_a_sandbox_retires() {
    let host = Setup::of(Plugin::faults(Isolation::Reuse).key("max_reuse_calls", 3))
        .start()
        .await;
    assert_eq!(counts(&host, 7).await, [1, 2, 3, 1, 2, 3, 1]);
    host.stop().await;

    let host = Setup::of(Plugin::faults(Isolation::Reuse).key("max_reuse_age_ms", 1))
        .start()
        .await;
    for _ in 0..5 {
        assert_eq!(count(&host).await, 1);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    host.stop().await;

    // Guests never give memory back: one that has grown over half its limit is not kept.
    let host = Setup::of(Plugin::faults(Isolation::Reuse)).start().await;
    assert_eq!(counts(&host, 2).await, [1, 2]);
    host.faults()
        .eat_memory(EatMemoryRequest { abort: false })
        .await
        .expect("it copes");
    assert_eq!(count(&host).await, 1);
    host.stop().await;
}
