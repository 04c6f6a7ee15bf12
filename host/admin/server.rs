//! Connections to the administration.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_stream::{Stream, StreamExt as _};
use tonic::body::Body;
use tower_service::Service as _;

use super::pages;
use super::pb::admin_server::AdminServer;
use super::pb::store_server::StoreServer;
use super::service::Service;
use super::status::Host;
use super::store::{MAX_REQUEST_BYTES as MAX_STORE_REQUEST_BYTES, StoreService};

/// Connections to one listener at once; further ones wait in its backlog.
const MAX_CONNECTIONS: usize = 32;

/// How long a connection may stay, so that clients that never leave do not keep others out.
const MAX_AGE: Duration = Duration::from_secs(600);

/// How long a client may take to send a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait when the system hands over no connection, for instance for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const MAX_HEADER_BYTES: u32 = 16 << 10;
const MAX_STREAMS: u32 = 16;

type Response = http::Response<Body>;

/// What one listener offers.
#[derive(Clone)]
pub(super) struct Server {
    host: Arc<Host>,
    /// None over TCP.
    grpc: Option<Services>,
    http: auto::Builder<TokioExecutor>,
}

/// The services, by the first part of the path.
#[derive(Clone)]
struct Services {
    admin: AdminServer<Service>,
    store: StoreServer<StoreService>,
}

impl Server {
    /// For clients that the system has let in: gRPC and pages.
    pub(super) fn local(host: Arc<Host>) -> Self {
        Self {
            grpc: Some(Services {
                store: StoreServer::new(StoreService::new(host.parts.store.clone()))
                    .max_decoding_message_size(MAX_STORE_REQUEST_BYTES),
                admin: AdminServer::new(Service::new(host.clone())),
            }),
            host,
            http: http(),
        }
    }

    /// For clients that nobody has asked who they are: pages, over HTTP/1.1.
    pub(super) fn remote(host: Arc<Host>) -> Self {
        Self {
            host,
            grpc: None,
            http: http().http1_only(),
        }
    }

    /// Serves the connections that come, for ever.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        mut incoming: impl Stream<Item = io::Result<S>> + Unpin,
    ) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            // The semaphore is never closed.
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            match incoming.next().await {
                None => return,
                Some(Ok(stream)) => {
                    let server = self.clone();
                    connections.spawn(async move {
                        server.connection(stream).await;
                        drop(slot);
                    });
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "a connection to the administration could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let http = self.http.clone();
        let service = service_fn(move |request| self.clone().answer(request));
        let connection = http.serve_connection(TokioIo::new(stream), service);
        if let Ok(Err(error)) = tokio::time::timeout(MAX_AGE, connection).await {
            tracing::debug!(error, "a connection to the administration ended early");
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response, Infallible> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let is_grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        match self.grpc {
            Some(mut services) if is_grpc => services.call(request).await,
            _ => Ok(pages::answer(request.method(), request.uri().path(), self.host).await),
        }
    }
}

impl Services {
    async fn call(&mut self, request: Request<Incoming>) -> Result<Response, Infallible> {
        match request.uri().path().starts_with("/mortise.admin.v1.Store/") {
            true => self.store.call(request).await,
            false => self.admin.call(request).await,
        }
    }
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(MAX_STREAMS);
    http
}
