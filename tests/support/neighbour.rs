//! Honest calls beside whatever a test does to a host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::host::Host;
use super::pb::faults::EchoRequest;
use super::until_some;

/// Calls one after another, counting, until it is asked how it went.
#[derive(Debug)]
pub(crate) struct Neighbour {
    answered: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    calling: JoinHandle<Result<(), String>>,
}

impl Neighbour {
    /// Calls `Echo` of the plugin of faults.
    pub(crate) fn of(host: &Host) -> Self {
        let answered = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = watch::channel(false);
        let (counter, mut faults) = (answered.clone(), host.faults());
        let calling = tokio::spawn(async move {
            while !*stopped.borrow() {
                let number = counter.load(Ordering::Relaxed);
                let payload = number.to_be_bytes().to_vec();
                let answer = faults
                    .echo(EchoRequest {
                        payload: payload.clone(),
                    })
                    .await;
                match answer {
                    Ok(answer) if answer.get_ref().payload == payload => {}
                    other => return Err(format!("call {number}: {other:?}")),
                }
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Self {
            answered,
            stop,
            calling,
        }
    }

    /// Waits until `more` further calls were answered.
    pub(crate) async fn goes_on(&self, more: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        until_some("calls of a neighbour", async || {
            assert!(!self.calling.is_finished(), "a call of a neighbour failed");
            (self.answered.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Expects that every call was answered well, and that there were some.
    pub(crate) async fn fared_well(self) {
        self.stop.send_replace(true);
        self.calling
            .await
            .expect("it does not panic")
            .expect("every call is answered");
        assert_ne!(self.answered.load(Ordering::Relaxed), 0);
    }
}
