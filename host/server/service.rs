//! Where a request goes: to the host's own services, or to a plugin.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::transport::Server;
use tonic_reflection::pb::{v1, v1alpha};
use tower_service::Service;

use super::drain::UntilDrained;
use super::framing::Response;
use super::health::Health;
use super::listener::{Listener, Peer};
use super::reflection::Reflection;
use crate::dispatch::Dispatcher;
use crate::status::Failure;

type HealthServer = super::health::pb::health_server::HealthServer<Health>;
type ReflectionV1 = v1::server_reflection_server::ServerReflectionServer<Reflection>;
type ReflectionV1Alpha = v1alpha::server_reflection_server::ServerReflectionServer<Reflection>;

/// HTTP/2 settings, from `[server]`.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Announced to clients, as SETTINGS_MAX_HEADER_LIST_SIZE.
    pub max_metadata_bytes: u32,
    /// Announced to clients, as SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_streams_per_connection: u32,
    /// None sends no pings.
    pub keepalive_interval: Option<Duration>,
    /// How long a ping may stay unanswered.
    pub keepalive_timeout: Duration,
    /// When a connection is told to go away; None never does.
    pub max_connection_age: Option<Duration>,
    /// How long its calls may then take.
    pub max_connection_age_grace: Duration,
    /// Whether reflection is served.
    pub reflection: bool,
}

/// Serves until `draining` turns true and every connection has then ended.
///
/// # Errors
/// If the HTTP/2 server cannot run; a connection that fails is not an error.
pub async fn serve(
    listener: Listener,
    options: &ServerOptions,
    dispatcher: Arc<Dispatcher>,
    health: Health,
    draining: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let service = GrpcService {
        draining: draining.clone(),
        health: HealthServer::new(health),
        reflection: options.reflection.then(|| {
            let reflection = Reflection::new(dispatcher.clone());
            (
                ReflectionV1::new(reflection.clone()),
                ReflectionV1Alpha::new(reflection),
            )
        }),
        dispatcher,
    };
    let mut server = Server::builder();
    if let Some(age) = options.max_connection_age {
        server = server
            .max_connection_age(age)
            .max_connection_age_grace(options.max_connection_age_grace);
    }
    server
        .http2_max_header_list_size(options.max_metadata_bytes)
        .max_concurrent_streams(options.max_streams_per_connection)
        .http2_keepalive_interval(options.keepalive_interval)
        .http2_keepalive_timeout(Some(options.keepalive_timeout))
        // Connections are sent away when no more of them come.
        .serve_with_incoming_shutdown(service, listener.connections(draining), std::future::pending())
        .await
}

#[derive(Clone)]
struct GrpcService {
    draining: watch::Receiver<bool>,
    health: HealthServer,
    reflection: Option<(ReflectionV1, ReflectionV1Alpha)>,
    dispatcher: Arc<Dispatcher>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl Service<http::Request<Body>> for GrpcService {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        if let Some(refusal) = not_grpc(&request) {
            return Box::pin(std::future::ready(Ok(refusal)));
        }
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        match (service, &mut self.reflection) {
            ("grpc.health.v1.Health", _) => until_drained(self.health.call(request), &self.draining),
            ("grpc.reflection.v1.ServerReflection", Some((v1, _))) => {
                until_drained(v1.call(request), &self.draining)
            }
            ("grpc.reflection.v1alpha.ServerReflection", Some((_, v1alpha))) => {
                until_drained(v1alpha.call(request), &self.draining)
            }
            _ => {
                let dispatcher = self.dispatcher.clone();
                let (head, body) = request.into_parts();
                let peer = head
                    .extensions
                    .get::<Peer>()
                    .map(|peer| peer.0.to_string())
                    .unwrap_or_default();
                Box::pin(async move { Ok(dispatcher.serve(head, body, peer).await) })
            }
        }
    }
}

/// The host's own streams, health watches above all, would keep a draining host waiting for as long as their
/// clients like.
fn until_drained(answer: Answer, draining: &watch::Receiver<bool>) -> Answer {
    let draining = draining.clone();
    Box::pin(async move {
        Ok(answer
            .await?
            .map(|body| Body::new(UntilDrained::new(body, draining))))
    })
}

/// What is not gRPC gets an HTTP answer (gRPC over HTTP/2, "Requests").
fn not_grpc(request: &http::Request<Body>) -> Option<Response> {
    let refuse = |status, header: Option<(header::HeaderName, &'static str)>| {
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = status;
        if let Some((name, value)) = header {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        Some(response)
    };
    if request.method() != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, Some((header::ALLOW, "POST")));
    }
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes);
    match content_type {
        Some(b"application/grpc") => None,
        Some(other) if other.starts_with(b"application/grpc+proto") => None,
        Some(other) if other.starts_with(b"application/grpc;") => None,
        _ => refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> Self {
        failure.to_status()
    }
}
