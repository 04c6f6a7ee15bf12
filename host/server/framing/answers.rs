//! The answer of a call that is answered with any number of messages.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};

use super::super::compression::{Encoded, Encoding};
use super::answer::{Response, add_status, framed, respond};

/// An answer whose messages are made as the client takes them, and which ends with the first status, or with OK.
/// Those of the messages that are compressed are in `encoding`.
pub(crate) fn stream<S>(encoding: Option<Encoding>, messages: S) -> Response
where
    S: Stream<Item = Result<Encoded, tonic::Status>> + Send + 'static,
{
    let mut initial = HeaderMap::new();
    if let Some(encoding) = encoding {
        initial.insert("grpc-encoding", HeaderValue::from_static(encoding.name()));
    }
    let messages = Some(Box::pin(messages));
    let rest = Bytes::new();
    respond(initial, StreamBody { messages, rest })
}

struct StreamBody<S> {
    /// None when there will be no more.
    messages: Option<Pin<Box<S>>>,
    /// Of the last message.
    rest: Bytes,
}

impl<S: Stream<Item = Result<Encoded, tonic::Status>>> Body for StreamBody<S> {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        let Some(messages) = &mut self.messages else {
            return Poll::Ready(None);
        };
        let status = match ready!(messages.as_mut().poll_next(cx)) {
            Some(Ok(message)) => {
                let [data, rest] = framed(message);
                self.rest = rest;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            Some(Err(status)) => status,
            None => tonic::Status::ok(""),
        };
        self.messages = None;
        let mut trailers = HeaderMap::new();
        add_status(&status, &mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.messages.is_none() && self.rest.is_empty()
    }
}
