//! What abuse costs the others: how long an honest client's calls take, and how much memory the host has, before,
//! during and after it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::{ECHO, warm_up};
use crate::support::pb::faults::*;
use crate::support::raw::RawClient;
use crate::support::{Host, until_some};

/// Calls of which each figure is made, at least.
const CALLS: usize = 100;

/// A client that suffers from what others do waits for their time limits, or for a place that they hold: seconds
/// and more. These bounds tell that from a machine that has much else to do.
const TIMES_THE_MEDIAN: u32 = 50;
const TIMES_THE_SLOWEST: u32 = 50;
const ALWAYS_FINE: Duration = Duration::from_millis(250);
const ALWAYS_FINE_ONCE: Duration = Duration::from_secs(2);

/// How long calls took, in order.
#[derive(Debug)]
struct Latencies(Vec<Duration>);

impl Latencies {
    fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self(latencies)
    }

    fn at(&self, hundredths: usize) -> Duration {
        self.0[(self.0.len() - 1) * hundredths / 100]
    }

    /// Not much longer than before.
    fn are_like(&self, before: &Self) {
        let median = ALWAYS_FINE.max(TIMES_THE_MEDIAN * before.at(50));
        assert!(self.at(50) <= median, "median: {self}, before: {before}");
        let slowest = ALWAYS_FINE_ONCE.max(TIMES_THE_SLOWEST * before.at(99));
        assert!(self.at(99) <= slowest, "99 %: {self}, before: {before}");
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, most, calls) = (self.at(50), self.at(99), self.0.len());
        write!(f, "median {median:.1?}, 99 % {most:.1?} of {calls}")
    }
}

/// An honest client, which calls one after another until it is asked how that went.
pub(super) struct Honest {
    stop: Arc<AtomicBool>,
    calling: JoinHandle<During>,
    before: Latencies,
    resident_before: u64,
}

struct During {
    raw: RawClient,
    latencies: Vec<Duration>,
    most_resident: u64,
}

async fn call(raw: &RawClient) -> Duration {
    let request = EchoRequest {
        payload: vec![7; 1000],
    };
    let began = Instant::now();
    let answer = raw.unary(ECHO, &[], &request).await;
    assert_eq!(answer.message::<EchoResponse>().payload, request.payload);
    began.elapsed()
}

async fn calls(raw: &RawClient) -> Latencies {
    let mut latencies = Vec::new();
    for _ in 0..CALLS {
        latencies.push(call(raw).await);
    }
    Latencies::of(latencies)
}

impl Honest {
    /// Measures the host as it is without abuse, and goes on calling.
    pub(super) async fn begin(host: &Host) -> Self {
        let resident_before = warm_up(host).await;
        let raw = host.raw().await;
        let before = calls(&raw).await;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, resident) = (stop.clone(), host.resident());
        let calling = tokio::spawn(async move {
            let (mut latencies, mut most_resident) = (Vec::new(), 0);
            while !stopped.load(Ordering::Relaxed) || latencies.len() < CALLS {
                latencies.push(call(&raw).await);
                most_resident = most_resident.max(resident());
            }
            During {
                raw,
                latencies,
                most_resident,
            }
        });
        Self {
            stop,
            calling,
            before,
            resident_before,
        }
    }

    /// Expects that every call was served, none much later than before or after the abuse, and that the host has no
    /// more than `growth` bytes more than before, and never had more than twice as many.
    pub(super) async fn fared_well(self, host: &Host, growth: u64) {
        self.stop.store(true, Ordering::Relaxed);
        let during = self.calling.await.expect("every call is served");
        let after = calls(&during.raw).await;
        let (before, latencies) = (self.before, Latencies::of(during.latencies));
        let mib = |bytes: u64| bytes >> 20;
        let (resident, most) = (self.resident_before, during.most_resident);
        let limit = resident + growth;
        let resident_after = until_some("the host to be small again", async || {
            Some(host.resident_bytes()).filter(|bytes| *bytes < limit)
        })
        .await;
        println!(
            "{}\n  before  {before}, {} MiB\n  during  {latencies}, {} MiB at most\n  after   {after}, {} MiB",
            std::thread::current().name().unwrap_or_default(),
            mib(resident),
            mib(most),
            mib(resident_after),
        );
        assert!(
            most < limit + growth,
            "{} MiB, then {} MiB",
            mib(resident),
            mib(most)
        );
        latencies.are_like(&before);
        after.are_like(&before);
    }
}
