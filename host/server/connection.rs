//! Connections: TLS, then HTTP/2, or HTTP/1.1 for gRPC-Web.
//!
//! tonic's transport is not used. It applies `grpc-timeout` by a clock of its own, beside that of the call, and
//! answers CANCELLED when that one is first; and it boxes requests and answers more often than is needed.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;

use super::cors::Origins;
use super::health::Health;
use super::listener::{Accepted, Listener};
use super::service::{Answer, Services};
use super::stream::Stream;
use super::tls::Tls;
use crate::dispatch::Dispatcher;

/// The smallest read buffer that hyper takes for HTTP/1.1.
const MIN_HTTP1_BUFFER: usize = 8 * 1024;

/// How long a handshake may still take while the host drains, so that the client can be sent away properly.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);

/// How clients are served, from `[server]`.
#[derive(Clone)]
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
    /// None serves without TLS.
    pub tls: Option<Tls>,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Web pages that may call.
    pub origins: Origins,
}

/// Serves until `draining` turns true and every connection has then ended. Dropping the future cuts all of them
/// off.
pub async fn serve(
    listener: Listener,
    options: &ServerOptions,
    dispatcher: Arc<Dispatcher>,
    health: Health,
    mut draining: watch::Receiver<bool>,
) {
    let server = Arc::new(Server {
        http: http(options),
        tls: options.tls.clone(),
        handshake_timeout: options.handshake_timeout,
        max_age: options.max_connection_age,
        max_age_grace: options.max_connection_age_grace,
        services: Services::new(dispatcher, health, options, draining.clone()),
    });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = drained(&mut draining) => break,
            accepted = listener.accept() => {
                connections.spawn(server.clone().serve(accepted, draining.clone()));
            }
            Some(ended) = connections.join_next() => log_panic(ended),
        }
    }
    // Closing the socket resets what waits in its backlog, and with it the calls of clients that are connected
    // as far as they can tell: they are sent away properly. Those who come later are refused.
    while let Some(accepted) = listener.take_waiting() {
        connections.spawn(server.clone().serve(accepted, draining.clone()));
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        log_panic(ended);
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection failed");
    }
}

async fn drained(draining: &mut watch::Receiver<bool>) {
    // A closed channel means the host is gone, which is draining too.
    let _ = draining.wait_for(|draining| *draining).await;
}

async fn drained_for(time: Duration, draining: &mut watch::Receiver<bool>) {
    drained(draining).await;
    tokio::time::sleep(time).await;
}

/// Up to a tenth earlier or later: clients that came together should not all come back together.
async fn aged(max_age: Option<Duration>) {
    match max_age {
        Some(age) => tokio::time::sleep(age.mul_f64(rand::random_range(0.9..1.1))).await,
        None => std::future::pending().await,
    }
}

fn http(options: &ServerOptions) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(options.max_metadata_bytes)
        .max_concurrent_streams(options.max_streams_per_connection)
        .keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout);
    // The timer also ends a client that is slow to send its headers, after hyper's 30 seconds. The buffer is
    // what bounds those headers; a longer list is answered 431, as it is over HTTP/2.
    http.http1()
        .timer(TokioTimer::new())
        .max_buf_size(MIN_HTTP1_BUFFER.max(options.max_metadata_bytes as usize));
    http
}

/// What all connections share.
struct Server {
    http: auto::Builder<TokioExecutor>,
    tls: Option<Tls>,
    handshake_timeout: Duration,
    max_age: Option<Duration>,
    max_age_grace: Duration,
    services: Services,
}

impl Server {
    /// Serves one connection to its end.
    async fn serve(self: Arc<Self>, accepted: Accepted, mut draining: watch::Receiver<bool>) {
        let Accepted { stream, peer, open } = accepted;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let handshake = tokio::time::timeout(self.handshake_timeout, tls.accept(stream));
                let handshake = tokio::select! {
                    handshake = handshake => handshake,
                    () = drained_for(HANDSHAKE_GRACE, &mut draining) => return,
                };
                match handshake {
                    Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                    Ok(Err(error)) => {
                        open.metrics.tls_failed.increment();
                        return tracing::debug!(%peer, %error, "no TLS handshake");
                    }
                    Err(_) => {
                        open.metrics.tls_timed_out.increment();
                        return tracing::debug!(%peer, "the TLS handshake took too long");
                    }
                }
            }
        };
        let service = ConnectionService {
            server: self.clone(),
            peer: peer.clone(),
        };
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            // First what the client has sent already: it learns from GOAWAY where it stands.
            biased;
            ended = connection.as_mut() => ended,
            () = drained(&mut draining) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = aged(self.max_age) => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(self.max_age_grace, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return tracing::debug!(%peer, "max_connection_age_grace_s passed"),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error, "a connection ended early");
        }
    }
}

/// Calls of one client.
#[derive(Clone)]
struct ConnectionService {
    server: Arc<Server>,
    peer: Arc<str>,
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = super::framing::Response;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        self.server.services.call(request.map(Body::new), &self.peer)
    }
}
