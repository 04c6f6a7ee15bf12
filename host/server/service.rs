//! Where a request goes: to the host's own services, or to a plugin.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, StatusCode, Version, header};
use tokio::sync::watch;
use tonic::body::Body;

use super::activity::Activity;
use super::answers::AnswerMemory;
use super::connection::ServerOptions;
use super::cors::{self, Origins};
use super::framing::Response;
use super::grpc_web::{self, Format};
use super::health::Health;
use super::http1;
use super::own::OwnServices;
use super::peer::Client;
use crate::dispatch::Dispatcher;
use crate::status::Failure;

/// Everything that is served, shared by all connections.
pub(super) struct Services {
    origins: Origins,
    own: Arc<OwnServices>,
    dispatcher: Arc<Dispatcher>,
    answers: Arc<AnswerMemory>,
}

/// Who calls.
#[derive(Clone)]
pub(super) struct Caller {
    /// The address, as guests read it.
    pub(super) peer: Arc<str>,
    /// None for processes of this machine, and for proxies themselves.
    pub(super) client: Option<Arc<Client>>,
    /// Of the connection.
    pub(super) activity: Arc<Activity>,
}

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl Services {
    pub(super) fn new(
        dispatcher: Arc<Dispatcher>,
        health: Health,
        options: &ServerOptions,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            origins: options.origins.clone(),
            own: Arc::new(OwnServices::new(dispatcher.clone(), health, options, draining)),
            dispatcher,
            answers: AnswerMemory::new(options.max_response_memory_bytes),
        }
    }

    /// What holds the answers.
    pub(super) fn answers(&self) -> &Arc<AnswerMemory> {
        &self.answers
    }

    /// Answers one request of `caller`.
    pub(super) fn call(&self, request: Request<Body>, caller: &Caller) -> Answer {
        if request.version() >= Version::HTTP_2 {
            return self.answer(request, caller);
        }
        let (request, unread) = http1::watch(request);
        let answer = self.answer(request, caller);
        Box::pin(async move {
            let answer = answer.await;
            unread.discard().await;
            answer
        })
    }

    fn answer(&self, request: Request<Body>, caller: &Caller) -> Answer {
        if let Some(answer) = self.origins.preflight(&request) {
            return Box::pin(std::future::ready(Ok(answer)));
        }
        let format = match protocol(&request) {
            Ok(Protocol::Grpc) => return self.route(request, caller),
            Ok(Protocol::GrpcWeb(format)) => format,
            Err(status) => return Box::pin(std::future::ready(Ok(refusal(status)))),
        };
        let page = self.origins.allowed(request.headers());
        let answer = self.route(grpc_web::to_grpc(request, format), caller);
        Box::pin(async move {
            let answer = grpc_web::from_grpc(answer.await?, format);
            Ok(match page {
                Some(origin) => cors::share(answer, origin),
                None => answer,
            })
        })
    }

    fn route(&self, request: Request<Body>, caller: &Caller) -> Answer {
        if OwnServices::have(request.uri().path()) {
            return self.own.clone().call(request, caller.clone());
        }
        if self.answers.is_full(caller.client.as_deref()) {
            let answer = self.dispatcher.failed(&Failure::ResponseMemoryFull);
            return Box::pin(std::future::ready(Ok(answer)));
        }
        let dispatcher = self.dispatcher.clone();
        let (head, body) = request.into_parts();
        let (peer, client) = (caller.peer.clone(), caller.client.clone());
        Box::pin(async move { Ok(dispatcher.serve(head, body, peer, client).await) })
    }
}

/// What a request is written in.
enum Protocol {
    Grpc,
    GrpcWeb(Format),
}

/// What is neither gRPC nor gRPC-Web gets an HTTP status (gRPC over HTTP/2, "Requests"), which clients translate
/// by a table of their own.
fn protocol(request: &Request<Body>) -> Result<Protocol, StatusCode> {
    if request.method() != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.map(HeaderValue::as_bytes).unwrap_or_default();
    // Parameters say nothing that matters.
    let end = content_type.iter().position(|byte| *byte == b';');
    let content_type = content_type[..end.unwrap_or(content_type.len())].trim_ascii_end();
    if let Some(format) = Format::of(content_type) {
        return Ok(Protocol::GrpcWeb(format));
    }
    match content_type {
        // Its trailers would not arrive. There is no HTTP/2 to upgrade to without a new connection.
        b"application/grpc" | b"application/grpc+proto" if request.version() < Version::HTTP_2 => {
            Err(StatusCode::HTTP_VERSION_NOT_SUPPORTED)
        }
        b"application/grpc" | b"application/grpc+proto" => Ok(Protocol::Grpc),
        _ => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

fn refusal(status: StatusCode) -> Response {
    let mut response = http::Response::new(Body::empty());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = HeaderValue::from_static("POST");
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}
