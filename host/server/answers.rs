//! Answers that clients have not taken yet.
//!
//! A client of HTTP/2 decides itself when it takes an answer. Until then the host holds it, and the client can make
//! more calls: so what each of them and all together leave with the host is bounded, and the time that one may be
//! held.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::activity::{InUse, Untaken};
use super::framing::Response;
use super::peer::Client;

/// The answers under way, over all connections.
#[derive(Debug)]
pub(super) struct AnswerMemory {
    most: usize,
    held: AtomicUsize,
}

impl AnswerMemory {
    /// With room for `most` bytes, beyond which no calls are served. Those in progress find room all the same.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            held: AtomicUsize::new(0),
        })
    }

    /// Whether `client` leaves no fewer bytes with the host than it leaves free for others; of nobody in
    /// particular, whether nothing is free.
    pub(super) fn is_full(&self, client: Option<&Client>) -> bool {
        let own = client.map_or(0, |client| client.answers.load(Ordering::Relaxed));
        self.held.load(Ordering::Relaxed).saturating_add(own) >= self.most
    }
}

/// An answer, until its last byte is with the client's system.
struct UnderWay {
    memory: Arc<AnswerMemory>,
    client: Option<Arc<Client>>,
    bytes: usize,
    _untaken: Untaken,
    _in_use: InUse,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(client) = &self.client {
            client.answers.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// Counts `answer` to `client` until it is taken, if it is one of known size: others are made as they are taken.
pub(super) fn track(
    answer: Response,
    memory: &Arc<AnswerMemory>,
    client: Option<Arc<Client>>,
    in_use: InUse,
) -> Response {
    let bytes = usize::try_from(answer.body().size_hint().lower()).unwrap_or(usize::MAX);
    if bytes == 0 {
        return answer;
    }
    memory.held.fetch_add(bytes, Ordering::Relaxed);
    if let Some(client) = &client {
        client.answers.fetch_add(bytes, Ordering::Relaxed);
    }
    let under_way = Arc::new(UnderWay {
        memory: memory.clone(),
        client,
        bytes,
        _untaken: in_use.untaken(),
        _in_use: in_use,
    });
    answer.map(|body| tonic::body::Body::new(Tracked { body, under_way }))
}

/// A body whose parts know the answer they belong to: hyper and h2 hold them when the body itself is gone.
struct Tracked {
    body: tonic::body::Body,
    under_way: Arc<UnderWay>,
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let under_way = &self.under_way;
        Poll::Ready(frame.map(|frame| {
            Ok(frame?.map_data(|bytes| {
                Bytes::from_owner(Part {
                    bytes,
                    _under_way: under_way.clone(),
                })
            }))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Part {
    bytes: Bytes,
    _under_way: Arc<UnderWay>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
