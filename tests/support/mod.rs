//! Real hosts for tests: built plugins, one `mortise serve` process for each host, and clients to call it.

pub(crate) mod admin;
pub(crate) mod backend;
pub(crate) mod crafted;
// Tests of the store tell a disk more.
#[allow(dead_code)]
pub(crate) mod disk;
pub(crate) mod embedded;
pub(crate) mod exposition;
pub(crate) mod frames;
pub(crate) mod host;
pub(crate) mod http1;
pub(crate) mod live;
pub(crate) mod log;
pub(crate) mod neighbour;
pub(crate) mod plugins;
pub(crate) mod raw;
pub(crate) mod tokens;

use std::time::Duration;

pub(crate) use backend::Backend;
pub(crate) use host::{Host, Setup};
pub(crate) use live::LiveFile;
pub(crate) use neighbour::Neighbour;
pub(crate) use plugins::{Isolation, Plugin, components};
pub(crate) use raw::reason;

/// Clients and messages of the plugins' services.
pub(crate) mod pb {
    #![allow(missing_docs, unreachable_pub, clippy::all)]

    pub(crate) mod order {
        include!(concat!(env!("OUT_DIR"), "/order.v1.rs"));

        /// Where `tally.v1` looks for what it imports.
        pub(crate) mod v1 {
            pub(crate) use super::Order;
        }
    }
    pub(crate) mod caller {
        include!(concat!(env!("OUT_DIR"), "/caller.v1.rs"));
    }
    pub(crate) mod tally {
        pub(crate) mod v1 {
            include!(concat!(env!("OUT_DIR"), "/tally.v1.rs"));
        }
    }
    pub(crate) mod faults {
        include!(concat!(env!("OUT_DIR"), "/faults.v1.rs"));
    }
}

/// How long anything may take that must happen. Only a failing test waits for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something that cannot be waited for.
const LOOK: Duration = Duration::from_millis(10);

/// The outcome of `work`, which must end.
pub(crate) async fn within_patience<F: Future>(what: &str, work: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(output) => output,
        Err(_) => panic!("after {PATIENCE:?} still waiting: {what}"),
    }
}

/// Asks until the answer is `Some`.
pub(crate) async fn until_some<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within_patience(what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await
}

/// Makes two tests of each function, one for each way to isolate calls.
#[macro_export]
macro_rules! in_both_modes {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            use $crate::support::Isolation;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn call() {
                super::$test(Isolation::Call).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn reuse() {
                super::$test(Isolation::Reuse).await;
            }
        }
    )+};
}
