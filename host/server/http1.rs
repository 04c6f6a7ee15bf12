//! What HTTP/1.1 needs that HTTP/2 does not: the whole request is read before it is answered.
//!
//! A server that answers early can only close the connection, and a client that is still sending then sees a
//! broken pipe instead of the answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use super::unread;

/// Watches how far the body of `request` is read.
pub(super) fn watch(request: Request<tonic::body::Body>) -> (Request<tonic::body::Body>, Unread) {
    let (sender, receiver) = oneshot::channel();
    let request = request.map(|body| {
        tonic::body::Body::new(Watched {
            body,
            unread: Some(sender),
        })
    });
    (request, Unread(receiver))
}

/// A body that is handed on when it is dropped before its end.
struct Watched {
    body: tonic::body::Body,
    unread: Option<oneshot::Sender<tonic::body::Body>>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            return;
        }
        if let Some(unread) = self.unread.take() {
            // Nobody waits for it if the call was dropped as a whole.
            let _ = unread.send(std::mem::take(&mut self.body));
        }
    }
}

/// What is left of a request.
pub(super) struct Unread(oneshot::Receiver<tonic::body::Body>);

impl Unread {
    /// Reads the rest of a request that nobody reads any more.
    pub(super) async fn discard(mut self) {
        if let Ok(body) = self.0.try_recv() {
            unread::discard(body).await;
        }
    }
}
