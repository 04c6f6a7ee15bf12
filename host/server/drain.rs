//! Streams that end when the host drains.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::watch;

use super::activity::InUse;

/// A response body that goes on as it is until the host drains, and then ends with UNAVAILABLE, which tells
/// clients to look elsewhere.
pub(super) struct UntilDrained {
    /// None once it has ended.
    body: Option<tonic::body::Body>,
    drained: Pin<Box<dyn Future<Output = ()> + Send>>,
    _in_use: InUse,
}

impl UntilDrained {
    pub(super) fn new(body: tonic::body::Body, mut draining: watch::Receiver<bool>, in_use: InUse) -> Self {
        let drained = Box::pin(async move {
            // A closed channel means the host is gone, which is draining too.
            let _ = draining.wait_for(|draining| *draining).await;
        });
        Self {
            body: Some(body),
            drained,
            _in_use: in_use,
        }
    }
}

impl Body for UntilDrained {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        match Pin::new(body).poll_frame(cx) {
            // What is ready still goes out: the last thing a health watch says is NOT_SERVING.
            Poll::Pending => {}
            ready => return ready,
        }
        std::task::ready!(self.drained.as_mut().poll(cx));
        self.body = None;
        let mut trailers = http::HeaderMap::new();
        let status = tonic::Status::unavailable("the server is shutting down");
        Poll::Ready(Some(
            status
                .add_header(&mut trailers)
                .map(|()| Frame::trailers(trailers)),
        ))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}
