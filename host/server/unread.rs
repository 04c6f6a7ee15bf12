//! The rest of a request that is answered before it is read.
//!
//! HTTP/2 lets a server answer early and reset the stream (RFC 9113, section 8.1). Clients built on hyper, tonic's
//! among them, then report that their request could not be sent, instead of the answer. So what is left of a
//! request is read all the same, within bounds, and thrown away; the answer does not wait for it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;

/// How much of a request is read only to be thrown away, and for how long. Beyond that the stream is reset, or
/// the connection closed with HTTP/1.1.
const MAX_DISCARDED_BYTES: usize = 1 << 20;
const MAX_DISCARD_TIME: Duration = Duration::from_secs(5);

/// Reads the rest of a request, within bounds.
pub(super) async fn discard(mut body: impl Body<Data = Bytes> + Unpin) {
    let read = async {
        let mut left = MAX_DISCARDED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // There is nobody to tell.
    let _ = tokio::time::timeout(MAX_DISCARD_TIME, read).await;
}

/// The body of a request by HTTP/2, whose rest is discarded when it is dropped before its end. So many of them
/// are under way as a client may have streams open: each counts as one until its end.
pub(super) struct Unread(Option<Incoming>);

impl Unread {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl Body for Unread {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        // There is none where the last thing that a runtime does is to drop this.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut rest = Box::pin(discard(body));
        // Mostly it is there already, or will never come because the client has reset the stream.
        if rest.as_mut().now_or_never().is_none() {
            runtime.spawn(rest);
        }
    }
}
