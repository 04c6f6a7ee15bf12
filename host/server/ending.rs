//! What ends a call of the host's own services before it is done: its deadline, or the end of the host.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::watch;

use super::activity::InUse;
use crate::deadline::Deadline;
use crate::status::Failure;

/// Completes when a call is to end, with the reason.
pub(super) type Ending = Pin<Box<dyn Future<Output = Failure> + Send>>;

/// The ending of a call with this deadline. Health watches above all would keep a draining host waiting for as long
/// as their clients like.
pub(super) fn ending(deadline: Deadline, mut draining: watch::Receiver<bool>) -> Ending {
    Box::pin(async move {
        tokio::select! {
            _ = deadline.bound(std::future::pending::<()>()) => Failure::DeadlineExceeded,
            // A closed channel means the host is gone, which is draining too.
            _ = draining.wait_for(|draining| *draining) => Failure::ShuttingDown,
        }
    })
}

/// Messages that go on until the call is to end, and then fail for that reason.
pub(super) struct Until<S> {
    /// None once they have ended.
    messages: Option<Pin<Box<S>>>,
    ending: Ending,
    /// Due, after a message that was ready.
    due: Option<Failure>,
    /// As long as there may be more, the connection is in use.
    _in_use: InUse,
}

impl<S> Until<S> {
    pub(super) fn new(messages: S, ending: Ending, in_use: InUse) -> Self {
        Self {
            messages: Some(Box::pin(messages)),
            ending,
            due: None,
            _in_use: in_use,
        }
    }
}

impl<T, S: Stream<Item = Result<T, Failure>>> Stream for Until<S> {
    type Item = Result<T, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(messages) = &mut this.messages else {
            return Poll::Ready(None);
        };
        if let Some(due) = this.due.take() {
            this.messages = None;
            return Poll::Ready(Some(Err(due)));
        }
        let due = match this.ending.as_mut().poll(cx) {
            Poll::Ready(due) => Some(due),
            Poll::Pending => None,
        };
        let next = match (messages.as_mut().poll_next(cx), due) {
            // Still goes out: the last thing that a health watch says is NOT_SERVING.
            (Poll::Ready(Some(Ok(message))), due) => {
                this.due = due;
                return Poll::Ready(Some(Ok(message)));
            }
            (Poll::Pending, None) => return Poll::Pending,
            (_, Some(due)) => Some(Err(due)),
            (Poll::Ready(ended), None) => ended,
        };
        this.messages = None;
        Poll::Ready(next)
    }
}
