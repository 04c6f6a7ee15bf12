//! Calls whose callers go away: the guest stops, what it staged is discarded, and its place is free.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::in_both_modes;
use crate::support::pb::faults::*;
use crate::support::raw::{RawAnswer, RawClient, framed};
use crate::support::{Host, Isolation, Plugin, Setup, until_some};

in_both_modes!(
    guests_stop_when_their_callers_go_away,
    a_cancelled_call_leaves_the_queue,
    what_was_staged_is_discarded,
    a_thousand_loops_cancelled_at_once_leave_the_host_idle,
);

const LOOP: &str = "/faults.v1.Faults/Loop";
const SLEEP: &str = "/faults.v1.Faults/Sleep";
const COUNT: &str = "/faults.v1.Faults/Count";

/// Far above what it takes, about a millisecond, because the machine may be busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(2);

/// One sandbox and one place in the queue.
const ONE_AND_ONE: &str = "[server]\nmax_concurrent_calls = 1\nmax_queued_calls = 1\nworker_threads = 2";

/// A way for a caller to go away.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    /// RST_STREAM on a connection that stays open.
    Reset,
    /// The connection is closed.
    Closed,
    /// A stock client's future is dropped.
    Dropped,
    /// The socket of a gRPC-Web client is closed, which is all that HTTP/1.1 has.
    WebClosed,
}

/// A call that never ends by itself.
struct Endless {
    client: RawClient,
    call: JoinHandle<()>,
}

impl Endless {
    async fn start(host: &Host, leaving: Leaving, path: &'static str) -> Self {
        let client = host.raw().await;
        let (raw, mut stock) = (client.clone(), host.faults());
        let hour = SleepRequest {
            milliseconds: 3_600_000,
        };
        let call = match leaving {
            Leaving::Dropped => tokio::spawn(async move {
                match path {
                    LOOP => drop(stock.r#loop(LoopRequest {}).await),
                    _ => drop(stock.sleep(hour).await),
                }
            }),
            // A connection that is closed under it has no answer.
            Leaving::Reset | Leaving::Closed => tokio::spawn(async move { raw.abandoned(path, &hour).await }),
            Leaving::WebClosed => {
                let socket = TcpStream::connect(host.address).await.expect("the host listens");
                tokio::spawn(ask_over_http1(socket, path, hour))
            }
        };
        Self { client, call }
    }

    fn leave(self, leaving: Leaving) {
        match leaving {
            Leaving::Reset | Leaving::Dropped | Leaving::WebClosed => self.call.abort(),
            Leaving::Closed => self.client.close(),
        }
    }
}

/// A gRPC-Web call whose answer never comes. Dropping it closes the socket.
async fn ask_over_http1(mut socket: TcpStream, path: &str, request: SleepRequest) {
    let body = framed(&request);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc-web+proto\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), &body].concat();
    socket.write_all(&request).await.expect("the host reads");
    let read = socket.read(&mut [0]).await;
    panic!("something came: {read:?}");
}

/// Waits until so many calls hold a sandbox, and so many wait for one.
async fn until_there_are(host: &Host, running: u32, waiting: u32) {
    until_some("calls that run and wait", async || {
        let metrics = host.metrics().await;
        let now = |name| metrics.value(name, &[]).expect("it is always there");
        let expected = (f64::from(running), f64::from(waiting));
        ((now("mortise_calls_admitted"), now("mortise_queue_length")) == expected).then_some(())
    })
    .await;
}

/// Waits until loops have computed for longer than a call may on the threads that serve.
async fn until_it_computes_in_the_background(host: &Host) {
    const SERVED: f64 = 0.01;
    let computed = async || {
        let metrics = host.metrics().await;
        metrics.sum("mortise_guest_cpu_seconds_total", &[("method", LOOP)])
    };
    let before = computed().await;
    until_some("a call that computes", async || {
        (computed().await > before + SERVED).then_some(())
    })
    .await;
}

/// Sandboxes that serve a call.
async fn sandboxes_in_use(host: &Host) -> f64 {
    let metrics = host.metrics().await;
    metrics.sum("mortise_sandboxes", &[]) - metrics.sum("mortise_sandboxes_idle", &[])
}

/// Starts a call behind one that runs.
async fn queue(host: &Host, client: &RawClient) -> JoinHandle<RawAnswer> {
    let client = client.clone();
    let queued = tokio::spawn(async move { client.unary(COUNT, &[], &CountRequest {}).await });
    until_there_are(host, 1, 1).await;
    queued
}

async fn guests_stop_when_their_callers_go_away(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation))
        .with(ONE_AND_ONE)
        .start()
        .await;
    let client = host.raw().await;
    for path in [LOOP, SLEEP] {
        for leaving in [
            Leaving::Reset,
            Leaving::Closed,
            Leaving::Dropped,
            Leaving::WebClosed,
        ] {
            let endless = Endless::start(&host, leaving, path).await;
            until_there_are(&host, 1, 0).await;
            if path == LOOP {
                until_it_computes_in_the_background(&host).await;
            }
            let next = queue(&host, &client).await;
            let left = Instant::now();
            endless.leave(leaving);
            let next = next.await.expect("the call does not panic");
            let took = left.elapsed();
            println!("{path}, {leaving:?}: the next call was answered after {took:?}");
            assert_eq!(
                next.message::<CountResponse>().calls,
                1,
                "in a sandbox of its own"
            );
            assert!(took < AT_ONCE, "{path}, {leaving:?}: {took:?}");
        }
    }
    host.stop().await;
}

async fn a_cancelled_call_leaves_the_queue(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation))
        .with(ONE_AND_ONE)
        .start()
        .await;
    let client = host.raw().await;
    let endless = Endless::start(&host, Leaving::Reset, LOOP).await;
    until_there_are(&host, 1, 0).await;
    let queued = queue(&host, &client).await;
    queued.abort();
    // A place in the queue again.
    until_there_are(&host, 1, 0).await;
    endless.leave(Leaving::Reset);
    client
        .unary(COUNT, &[], &CountRequest {})
        .await
        .message::<CountResponse>();
    host.stop().await;
}

async fn what_was_staged_is_discarded(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation))
        .with(ONE_AND_ONE)
        .start()
        .await;
    let request = WriteThenRequest {
        key: "staged".into(),
        value: b"by a call that was cancelled".to_vec(),
        ending: write_then_request::Ending::Loop.into(),
    };
    let writer = host.raw().await;
    let writing =
        tokio::spawn(async move { writer.abandoned("/faults.v1.Faults/WriteThen", &request).await });
    until_there_are(&host, 1, 0).await;
    writing.abort();
    let key = "staged".into();
    let read = host.faults().read(ReadRequest { key }).await.expect("answered");
    assert_eq!(read.into_inner().value, None);
    let log = host.log.clone();
    host.stop().await;
    assert!(!log.text().contains("faults.written"), "no event: {}", log.text());
}

async fn a_thousand_loops_cancelled_at_once_leave_the_host_idle(isolation: Isolation) {
    const LOOPS: usize = 1000;
    const BEGUN: f64 = 50.0;
    /// The engine ticks on, which takes about 1 % of a processor.
    const IDLE: Duration = Duration::from_millis(30);
    const LOOK: Duration = Duration::from_millis(300);
    let sections = format!(
        "[server]\nmax_concurrent_calls = {LOOPS}\nmax_queued_calls = 0\nmax_streams_per_connection = {LOOPS}"
    );
    let host = Setup::of(Plugin::faults(isolation)).with(&sections).start().await;
    let client = host.raw().await;
    let doomed = host.raw().await;
    for _ in 0..LOOPS {
        let doomed = doomed.clone();
        tokio::spawn(async move { doomed.abandoned(LOOP, &LoopRequest {}).await });
    }
    // Not by calls, of which one could take the place of the last loop.
    until_some("a thousand loops", async || {
        let admitted = host.metrics().await.value("mortise_calls_admitted", &[]);
        (admitted == Some(LOOPS as f64)).then_some(())
    })
    .await;
    let refused = client.unary(COUNT, &[], &CountRequest {}).await;
    assert_eq!(refused.reason(), "OVERLOADED");
    // The others wait for their first turn in the background.
    until_some("loops that have begun", async || {
        (sandboxes_in_use(&host).await >= BEGUN).then_some(())
    })
    .await;

    let left = Instant::now();
    doomed.close();
    until_some("a call", async || {
        let answer = client.unary(COUNT, &[], &CountRequest {}).await;
        (answer.code() == Code::Ok).then_some(())
    })
    .await;
    println!("the next call was answered after {:?}", left.elapsed());
    until_some("an idle host", async || {
        let before = host.cpu_time();
        tokio::time::sleep(LOOK).await;
        (host.cpu_time() - before <= IDLE).then_some(())
    })
    .await;
    println!("the host was seen idle after {:?}", left.elapsed());
    // On a busy machine the last of them may not have had its last turn yet, and take no time meanwhile.
    until_some("no sandbox in use", async || {
        (sandboxes_in_use(&host).await == 0.0).then_some(())
    })
    .await;

    // Every permit and every sandbox is back.
    let calls: Vec<_> = (0..LOOPS)
        .map(|_| {
            let client = client.clone();
            let sleep = SleepRequest { milliseconds: 300 };
            tokio::spawn(async move { client.unary(SLEEP, &[], &sleep).await.code() })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("the call does not panic"), Code::Ok);
    }
    host.stop().await;
}
