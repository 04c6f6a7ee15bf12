//! The end of calls in flight that a host which stops waits for no longer.

use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::sync::watch;

use crate::status::Failure;

/// Told to all calls at once.
#[derive(Debug, Default)]
pub struct CutOff(watch::Sender<bool>);

impl CutOff {
    /// From now on no call waits for anything but its commit.
    pub fn now(&self) {
        self.0.send_replace(true);
    }

    /// What a call waits for. What is ready counts, so that a call which does not wait takes no notice. Pinned by the
    /// caller, because it may be large.
    ///
    /// # Errors
    /// If the call is cut off first.
    pub(super) async fn bound<T, E: Into<Failure>>(
        &self,
        mut work: Pin<&mut impl Future<Output = Result<T, E>>>,
    ) -> Result<T, Failure> {
        let mut told = pin!(self.told());
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(output.map_err(Into::into)),
            Poll::Pending => told.as_mut().poll(cx).map(|()| Err(Failure::ShuttingDown)),
        })
        .await
    }

    async fn told(&self) {
        // Its sender is this one.
        let _ = self.0.subscribe().wait_for(|told| *told).await;
    }
}
