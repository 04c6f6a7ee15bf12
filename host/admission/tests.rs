use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use tokio::time::Instant;

use super::*;

fn within(budget: Duration) -> Deadline {
    Deadline::after(Instant::now(), Some(budget))
}

fn minute() -> Deadline {
    within(Duration::from_secs(60))
}

/// Polls once.
async fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
}

fn overloaded(outcome: Result<Permit<'_>, Failure>) -> Duration {
    match outcome {
        Err(Failure::Overloaded { retry_after }) => retry_after,
        other => panic!("{other:?}"),
    }
}

/// A host with plugins, all of one method.
struct Host {
    admission: Admission,
    shares: Vec<Share>,
    stay: Stay,
    method: Option<Arc<Gate>>,
}

impl Host {
    fn new(running: usize, waiting: usize, plugins: usize) -> Self {
        let division = Division {
            running,
            waiting,
            plugins,
            threads: 1,
        };
        Self {
            admission: Admission::new(division),
            shares: (0..plugins).map(|_| Share::new(division, None)).collect(),
            stay: Stay::default(),
            method: None,
        }
    }

    async fn admit(&self, plugin: usize, deadline: &Deadline) -> Result<Permit<'_>, Failure> {
        let claim = Claim {
            share: &self.shares[plugin],
            bound: self.method.as_ref(),
            stay: &self.stay,
            expected: None,
        };
        self.admission.admit(claim, deadline).await
    }
}

#[tokio::test]
async fn a_full_host_queues_then_refuses() {
    let host = Host::new(1, 1, 1);
    let running = host.admit(0, &minute()).await.expect("free");
    let deadline = minute();
    let mut waiting = Box::pin(host.admit(0, &deadline));
    assert!(is_pending(&mut waiting).await);
    let retry_after = overloaded(host.admit(0, &minute()).await);
    assert!(retry_after >= MIN_RETRY_AFTER && retry_after <= 2 * MAX_RETRY_AFTER);
    drop(running);
    let running = waiting.await.expect("its turn");
    let late = host.admit(0, &within(Duration::from_millis(5))).await;
    assert_eq!(
        late.err(),
        Some(Failure::DeadlineExceeded),
        "and its place in the queue is free again"
    );
    drop(running);
    assert!(host.admit(0, &minute()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_come_too_late_does_not_wait() {
    let host = Host::new(1, 10, 1);
    let running = host.admit(0, &minute()).await.expect("free");
    let deadline = minute();
    let mut waiting = Box::pin(host.admit(0, &deadline));
    assert!(is_pending(&mut waiting).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(running);
    let running = waiting.await.expect("its turn");
    // Calls take a second, as far as is known: one to wait, one to run, and half as much for being wrong.
    overloaded(host.admit(0, &within(Duration::from_millis(1900))).await);
    let deadline = within(Duration::from_millis(3100));
    let mut waiting = Box::pin(host.admit(0, &deadline));
    assert!(is_pending(&mut waiting).await);
    drop(running);
    drop(waiting.await.expect("its turn"));
    // With room, no call is turned away for what others took.
    assert!(host.admit(0, &within(Duration::from_millis(10))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_busy_host_takes_no_call_that_cannot_end_in_time() {
    let host = Host::new(100, 10, 1);
    let deadline = minute();
    let mut running = Vec::new();
    while running.len() < BUSY_CALLS_PER_THREAD + 1 {
        running.push(host.admit(0, &deadline).await.expect("room"));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    running.pop();
    overloaded(host.admit(0, &within(Duration::from_millis(1400))).await);
    assert!(host.admit(0, &within(Duration::from_millis(1600))).await.is_ok());
    running.pop();
    assert!(host.admit(0, &within(Duration::from_millis(10))).await.is_ok());
}

#[tokio::test]
async fn a_flooded_plugin_leaves_the_others_theirs() {
    let host = Host::new(8, 8, 2);
    let deadline = minute();
    let mut flood = Vec::new();
    for _ in 0..6 {
        flood.push(
            host.admit(0, &deadline)
                .await
                .expect("its own two, and all of the shared"),
        );
    }
    let mut queue: Vec<_> = (0..6).map(|_| Box::pin(host.admit(0, &deadline))).collect();
    for waiting in &mut queue {
        assert!(is_pending(waiting).await);
    }
    overloaded(host.admit(0, &deadline).await);
    let others = [
        host.admit(1, &deadline).await.expect("its own"),
        host.admit(1, &deadline).await.expect("its own"),
    ];
    let mut waiting = [
        Box::pin(host.admit(1, &deadline)),
        Box::pin(host.admit(1, &deadline)),
    ];
    for waiting in &mut waiting {
        assert!(is_pending(waiting).await);
    }
    overloaded(host.admit(1, &deadline).await);
    drop(others);
    for waiting in waiting {
        assert!(waiting.await.is_ok(), "before all that the flood has waiting");
    }
}

#[tokio::test]
async fn a_method_at_its_own_bound_holds_nothing_of_the_host() {
    let mut host = Host::new(1, 10, 1);
    host.method = Some(Gate::new(0));
    let deadline = minute();
    let mut blocked = Box::pin(host.admit(0, &deadline));
    assert!(is_pending(&mut blocked).await);
    let claim = Claim {
        share: &host.shares[0],
        bound: None,
        stay: &host.stay,
        expected: None,
    };
    assert!(host.admission.admit(claim, &minute()).await.is_ok());
}
