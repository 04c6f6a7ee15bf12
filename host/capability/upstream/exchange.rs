//! One request and its answer on a connection, by the rules of gRPC over HTTP/2.
//!
//! tonic's client would serve, but merges initial and trailing metadata, cannot tell its own statuses from the
//! target's, and trusts the target's encoding of a status.

use std::future::poll_fn;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Uri};
use http_body_util::{BodyExt, Full};
use tonic::Code;
use tonic::body::Body;
use tonic::transport::Channel;
use tower_service::Service;

use super::status::{self, Answered};
use super::{Failed, Metadata, Reply};
use crate::metadata::RequestMetadata;

/// A compression flag and a big-endian length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// Why an exchange came to no status.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection could not be made or ended, or the target refused the stream unread.
    Connection(String),
    /// The answer breaks the protocol, or the target reset the stream.
    Protocol(String),
    /// The message is longer than it may be.
    TooLarge,
    /// The time is up.
    TimedOut,
}

/// How an exchange ended.
pub(super) type Outcome = Result<Result<Reply, Answered>, Broken>;

/// `message` behind its length.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    // Messages are within `max_request_bytes`, which is at most 1 GiB.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// Sends one message, which is [`framed`], and waits for the end of the answer. Dropping the future resets the
/// stream.
pub(super) async fn exchange(
    mut channel: Channel,
    path: Uri,
    headers: HeaderMap,
    framed: Bytes,
    limit: usize,
) -> Outcome {
    let mut request = http::Request::new(Body::new(Full::new(framed)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path;
    *request.headers_mut() = headers;
    poll_fn(|cx| channel.poll_ready(cx)).await.map_err(broken)?;
    let (head, mut body) = channel.call(request).await.map_err(broken)?.into_parts();

    // One block of headers is a whole answer (gRPC over HTTP/2, "Trailers-Only").
    if let Some(code) = status::code(&head.headers) {
        return finish(code, HeaderMap::new(), head.headers, None);
    }
    if head.status != http::StatusCode::OK {
        return Ok(Err(status::from_http(head.status)));
    }
    if !is_grpc(&head.headers) {
        return Err(Broken::Protocol(
            "the content type is not application/grpc".into(),
        ));
    }
    let mut received = Received::default();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(broken)?.into_data() {
            Ok(data) => received.push(&data, limit)?,
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    let code = status::code(&trailers).ok_or_else(|| Broken::Protocol("it ends without a status".into()))?;
    let message = if code == Code::Ok {
        received.finish()?
    } else {
        None
    };
    finish(code, head.headers, trailers, message)
}

fn finish(code: Code, headers: HeaderMap, trailers: HeaderMap, message: Option<Bytes>) -> Outcome {
    let answered = (code != Code::Ok).then(|| status::failure(code, &trailers));
    let (initial, trailing) = (entries(headers)?, entries(trailers)?);
    Ok(match (answered, message) {
        (Some(answered), _) => Err(Answered {
            initial,
            trailing,
            ..answered
        }),
        (None, Some(message)) => Ok(Reply {
            message,
            initial,
            trailing,
        }),
        (None, None) => return Err(Broken::Protocol("it is OK, and has no message".into())),
    })
}

/// What a plugin may see. The size of header lists is bounded when they are received.
fn entries(headers: HeaderMap) -> Result<Metadata, Broken> {
    RequestMetadata::new(headers, usize::MAX)
        .map(|metadata| metadata.entries())
        .map_err(|_| Broken::Protocol("binary metadata is not base64".into()))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|content_type| content_type.starts_with(b"application/grpc"))
}

/// The message so far, behind its length.
#[derive(Default)]
struct Received {
    bytes: BytesMut,
}

impl Received {
    /// Refuses a message by the length it announces, before it is there.
    fn push(&mut self, data: &[u8], limit: usize) -> Result<(), Broken> {
        if self.bytes.len() + data.len() > PREFIX.saturating_add(limit) {
            return Err(Broken::TooLarge);
        }
        self.bytes.put_slice(data);
        match self.announced()? {
            Some(length) if length > limit => Err(Broken::TooLarge),
            Some(length) if self.bytes.len() > PREFIX + length => {
                Err(Broken::Protocol("it has more than one message".into()))
            }
            _ => Ok(()),
        }
    }

    fn announced(&self) -> Result<Option<usize>, Broken> {
        let Some(mut prefix) = self.bytes.get(..PREFIX) else {
            return Ok(None);
        };
        // No `grpc-accept-encoding` is sent, so nothing may be compressed.
        if prefix.get_u8() != 0 {
            return Err(Broken::Protocol("its message is compressed".into()));
        }
        Ok(Some(prefix.get_u32() as usize))
    }

    /// None if there was no message at all.
    fn finish(mut self) -> Result<Option<Bytes>, Broken> {
        match self.announced()? {
            None if self.bytes.is_empty() => Ok(None),
            Some(length) if self.bytes.len() == PREFIX + length => {
                self.bytes.advance(PREFIX);
                Ok(Some(self.bytes.freeze()))
            }
            _ => Err(Broken::Protocol("it ends inside its message".into())),
        }
    }
}

/// What an error of the connection means.
fn broken(error: impl Into<tonic::codegen::StdError>) -> Broken {
    let error = error.into();
    let mut text = String::new();
    let mut reset = None;
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    while let Some(cause) = next {
        // tonic watches the `grpc-timeout` of requests as well.
        if cause.is::<tonic::TimeoutExpired>() {
            return Broken::TimedOut;
        }
        if let Some(h2) = cause.downcast_ref::<h2::Error>().filter(|h2| h2.is_reset()) {
            reset = h2.reason();
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    match reset {
        // The target has not read the request (RFC 9113, section 8.7).
        None | Some(h2::Reason::REFUSED_STREAM) => Broken::Connection(text),
        Some(_) => Broken::Protocol(text),
    }
}

impl Broken {
    /// For the operator's log.
    pub(super) fn cause(&self) -> &str {
        match self {
            Self::Connection(cause) | Self::Protocol(cause) => cause,
            Self::TooLarge => "the answer is over max_response_bytes",
            Self::TimedOut => "no answer in time",
        }
    }
}

impl From<Answered> for Failed {
    fn from(answered: Answered) -> Self {
        Self::Answered(Box::new(answered))
    }
}
