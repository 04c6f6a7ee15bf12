//! Connections: TLS, then HTTP/2, or HTTP/1.1 for gRPC-Web.
//!
//! tonic's transport is not used. It applies `grpc-timeout` by a clock of its own, beside that of the call, and
//! answers CANCELLED when that one is first; and it boxes requests and answers more often than is needed.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Request, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;

use super::activity::{Activity, InUse};
use super::answers;
use super::cors::Origins;
use super::frames::FrameBudgets;
use super::guard::Guarded;
use super::health::Health;
use super::inline::{Batched, BatchedIo, InlineExecutor};
use super::listener::{Accepted, ClientSocket, Listener};
use super::metrics::ConnectionMetrics;
use super::misconduct::Misconduct;
use super::peer::{Client, Clients, Peer, Place};
use super::proxy::{Proxies, ProxyNaming, forwarded_client, read_proxy_header};
use super::service::{Answer, Caller, Services};
use super::stream::Stream;
use super::tls::Tls;
use super::unread::Unread;
use crate::auth::ClientCertificate;
use crate::dispatch::Dispatcher;
use crate::observe::Throttle;
use crate::policy::HostPolicies;

/// The smallest read buffer that hyper takes for HTTP/1.1.
const MIN_HTTP1_BUFFER: usize = 8 * 1024;

/// How long what comes before HTTP may still take while the host drains, so that the client can be sent away
/// properly.
const OPENING_GRACE: Duration = Duration::from_secs(1);

/// How clients are served, from `[server]`.
#[derive(Clone)]
pub struct ServerOptions {
    /// The largest header list that is served.
    pub max_metadata_bytes: u32,
    /// Announced to clients, as SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_streams_per_connection: u32,
    /// Of one client: see [`client_of`](super::client_of).
    pub max_connections_per_peer: usize,
    /// How long a client may take for what comes before the first request, and for each header list.
    pub header_timeout: Duration,
    /// What clients may send besides calls.
    pub frames: FrameBudgets,
    /// Proxies that say for whom they connect.
    pub proxies: Proxies,
    /// None sends no pings.
    pub keepalive_interval: Option<Duration>,
    /// How long a ping may stay unanswered.
    pub keepalive_timeout: Duration,
    /// When a connection without calls is told to go away; None never does.
    pub max_connection_idle: Option<Duration>,
    /// How long a client may take for an answer before its connection is told to go away.
    pub response_timeout: Duration,
    /// How many bytes of answers may be under way before no more calls are served.
    pub max_response_memory_bytes: usize,
    /// When a connection is told to go away; None never does.
    pub max_connection_age: Option<Duration>,
    /// How long the calls of a connection that was told to go away may take.
    pub max_connection_age_grace: Duration,
    /// Whether reflection is served.
    pub reflection: bool,
    /// None serves without TLS.
    pub tls: Option<Tls>,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Web pages that may call.
    pub origins: Origins,
    /// For health and reflection.
    pub host_policies: HostPolicies,
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
        clients: Clients::new(options.max_connections_per_peer),
        misconduct: Throttle::default(),
        metrics: listener.metrics().clone(),
        services: Services::new(dispatcher, health, options, draining.clone()),
        options: options.clone(),
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

fn http(options: &ServerOptions) -> auto::Builder<InlineExecutor> {
    // A list over `max_metadata_bytes` gets a gRPC status that says so, which hyper cannot give. So it lets
    // through twice as much, and announces that. Beyond, its answer is HTTP status 431.
    let let_through = options.max_metadata_bytes.saturating_mul(2);
    let mut http = auto::Builder::new(InlineExecutor);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(let_through)
        .max_concurrent_streams(options.max_streams_per_connection)
        // As many as there may be. The default of 20 is reached by a client whose calls all time out at once.
        .max_pending_accept_reset_streams(options.max_streams_per_connection as usize)
        .keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout);
    http.http1()
        .timer(TokioTimer::new())
        // Also ends a connection that is kept alive for longer without a request.
        .header_read_timeout(options.header_timeout)
        .max_buf_size(MIN_HTTP1_BUFFER.max(let_through as usize));
    http
}

/// What all connections share.
struct Server {
    http: auto::Builder<InlineExecutor>,
    options: ServerOptions,
    clients: Arc<Clients>,
    /// What the log says of clients that were sent away.
    misconduct: Throttle<Misconduct>,
    metrics: Arc<ConnectionMetrics>,
    services: Services,
}

/// A connection on which HTTP can begin.
struct Opened {
    stream: Stream,
    /// The client, or a proxy that names its clients in each request.
    peer: Peer,
    names_clients: bool,
    place: Option<Place>,
}

impl Server {
    /// Serves one connection to its end.
    async fn serve(self: Arc<Self>, accepted: Accepted, mut draining: watch::Receiver<bool>) {
        let Accepted {
            socket,
            peer,
            open: _open,
        } = accepted;
        let opened = tokio::select! {
            opened = self.open(socket, peer) => opened,
            () = drained_for(OPENING_GRACE, &mut draining) => return,
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(misconduct) => return self.log(misconduct, peer),
        };
        let peer = opened.peer;
        let certificate = opened.stream.client_certificate();
        let (stream, verdict) = Guarded::new(opened.stream, self.options.frames, self.options.header_timeout);
        let activity = Activity::new();
        let service = ConnectionService {
            server: self.clone(),
            peer,
            names_clients: opened.names_clients,
            caller: Caller {
                peer: peer.to_string().into(),
                client: opened.place.as_ref().map(|place| place.client().clone()),
                activity: activity.clone(),
            },
            certificate,
        };
        let io = TokioIo::new(BatchedIo(stream));
        let mut connection = pin!(Batched::new(self.http.serve_connection(io, service)));
        let ended = tokio::select! {
            // First what the client has sent already: it learns from GOAWAY where it stands.
            biased;
            ended = connection.as_mut() => ended,
            () = drained(&mut draining) => {
                connection.as_mut().connection().graceful_shutdown();
                connection.await
            }
            misconduct = outlived(&activity, &self.options) => {
                if let Some(misconduct) = misconduct {
                    self.log(misconduct, peer);
                }
                connection.as_mut().connection().graceful_shutdown();
                match tokio::time::timeout(self.options.max_connection_age_grace, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return tracing::debug!(%peer, "max_connection_age_grace_s passed"),
                }
            }
        };
        match (verdict.get(), ended) {
            (Some(misconduct), _) => self.log(*misconduct, peer),
            (None, Err(error)) if Misconduct::is_flood(&*error) => self.log(Misconduct::Refused, peer),
            (None, Err(error)) => tracing::debug!(%peer, error, "a connection ended early"),
            (None, Ok(())) => {}
        }
    }

    /// What comes before HTTP: whom a proxy speaks for, a place for the client, TLS.
    async fn open(&self, mut socket: ClientSocket, peer: Peer) -> Result<Opened, Misconduct> {
        let options = &self.options;
        let naming = options.proxies.naming(peer);
        let mut client = peer;
        if naming == Some(ProxyNaming::ProxyProtocol) {
            let header = async {
                match &mut socket {
                    ClientSocket::Network(stream) => read_proxy_header(stream, peer).await,
                    ClientSocket::Unix(stream) => read_proxy_header(stream, peer).await,
                }
            };
            client = match tokio::time::timeout(options.header_timeout, header).await {
                Ok(Ok(client)) => client,
                Ok(Err(error)) => {
                    tracing::debug!(%peer, %error, "no PROXY header");
                    return Err(Misconduct::NoProxyHeader);
                }
                Err(_) => return Err(Misconduct::TooSlow),
            };
        }
        let place = match client.ip() {
            // A trusted proxy's own connections are those of all its clients.
            Some(_) if naming.is_some() && client == peer => None,
            Some(ip) => Some(self.clients.admit(ip).ok_or(Misconduct::TooManyConnections)?),
            None => None,
        };
        let stream = match (socket, &options.tls) {
            (ClientSocket::Unix(stream), _) => Stream::Unix(stream),
            (ClientSocket::Network(stream), None) => Stream::Plain(stream),
            (ClientSocket::Network(stream), Some(tls)) => {
                match tokio::time::timeout(options.handshake_timeout, tls.accept(stream)).await {
                    Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                    Ok(Err(error)) => {
                        self.metrics.tls_failed.increment();
                        tracing::debug!(%peer, %error, "no TLS handshake");
                        return Err(Misconduct::NoHandshake);
                    }
                    Err(_) => {
                        self.metrics.tls_timed_out.increment();
                        return Err(Misconduct::TooSlow);
                    }
                }
            }
        };
        Ok(Opened {
            stream,
            peer: client,
            names_clients: naming == Some(ProxyNaming::XForwardedFor),
            place,
        })
    }

    fn log(&self, misconduct: Misconduct, peer: Peer) {
        self.metrics.count(misconduct);
        if !misconduct.is_notable() {
            return tracing::debug!(%peer, "a connection was closed: {misconduct}");
        }
        if let Some(suppressed) = self.misconduct.admit(misconduct, Instant::now()) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::warn!(%peer, suppressed, "a connection was closed: {misconduct}");
        }
    }
}

/// Completes when a connection has its age, was idle for long enough, or its client does not take its answers.
async fn outlived(activity: &Activity, options: &ServerOptions) -> Option<Misconduct> {
    tokio::select! {
        () = aged(options.max_connection_age) => None,
        () = activity.idle_for(options.max_connection_idle) => None,
        () = activity.untaken_for(options.response_timeout) => Some(Misconduct::TakesNothing),
    }
}

/// Calls of one client, or of the clients of one proxy.
#[derive(Clone)]
struct ConnectionService {
    server: Arc<Server>,
    peer: Peer,
    names_clients: bool,
    caller: Caller,
    certificate: Option<ClientCertificate>,
}

impl ConnectionService {
    /// For whom the proxy at the other end sends this request.
    fn forwarded(&self, request: &Request<Body>) -> Caller {
        let client = forwarded_client(request.headers(), self.peer, &self.server.options.proxies);
        let ip = client.ip().filter(|_| client != self.peer);
        Caller {
            peer: client.to_string().into(),
            client: ip.map(|ip| self.server.clients.at(ip)),
            activity: self.caller.activity.clone(),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = super::framing::Response;
    type Error = Infallible;
    type Future = InProgress;

    fn call(&self, request: Request<Incoming>) -> InProgress {
        let mut request = match request.version() {
            Version::HTTP_2 => request.map(|body| Body::new(Unread::new(body))),
            _ => request.map(Body::new),
        };
        if let Some(certificate) = &self.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        let services = &self.server.services;
        let (answer, client) = if self.names_clients {
            let caller = self.forwarded(&request);
            (services.call(request, &caller), caller.client)
        } else {
            (services.call(request, &self.caller), self.caller.client.clone())
        };
        InProgress {
            answer,
            server: self.server.clone(),
            to: Some((client, self.caller.activity.begin())),
        }
    }
}

/// An answer to come.
struct InProgress {
    answer: Answer,
    server: Arc<Server>,
    /// Whom the answer is for; goes along with it.
    to: Option<(Option<Arc<Client>>, InUse)>,
}

impl Future for InProgress {
    type Output = Result<super::framing::Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.answer.as_mut().poll(cx))?;
        Poll::Ready(Ok(match self.to.take() {
            Some((client, in_use)) => answers::track(answer, self.server.services.answers(), client, in_use),
            None => answer,
        }))
    }
}
