//! A service that plugins call, played by the test.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::pb::caller::backend_server::{self, BackendServer};
use super::pb::caller::{AskRequest, AskResponse};

/// The one method.
pub(crate) const ASK: &str = "/caller.v1.Backend/Ask";

type Answer = Pin<Box<dyn Future<Output = Result<Response<AskResponse>, Status>> + Send>>;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) text: String,
    pub(crate) metadata: MetadataMap,
}

impl Asked {
    /// All values of a text key.
    pub(crate) fn all(&self, key: &str) -> Vec<&str> {
        let values = self.metadata.get_all(key).iter();
        values.map(|value| value.to_str().expect("text")).collect()
    }
}

/// A server that ends with the test.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Backend {
    /// Says what it is asked.
    pub(crate) async fn echo() -> Self {
        Self::new(|_, text| async { Ok(Response::new(AskResponse { text })) }).await
    }

    /// `answer` gets the number of the request, from 1, and its text.
    pub(crate) async fn new<F: Future<Output = Result<Response<AskResponse>, Status>> + Send + 'static>(
        answer: impl Fn(usize, String) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::closing(0, answer).await
    }

    /// The same, but closes the first `refused` connections as soon as they are made.
    pub(crate) async fn closing<
        F: Future<Output = Result<Response<AskResponse>, Status>> + Send + 'static,
    >(
        refused: usize,
        answer: impl Fn(usize, String) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::on(Server::builder(), refused, answer).await
    }

    async fn on<F: Future<Output = Result<Response<AskResponse>, Status>> + Send + 'static>(
        server: Server,
        refused: usize,
        answer: impl Fn(usize, String) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let incoming = TcpListenerStream::new(listener).filter(move |_| {
            // Those left out are dropped, and so closed.
            counter.fetch_add(1, Ordering::Relaxed) >= refused
        });
        let asked = Arc::new(Mutex::default());
        let service = Service {
            asked: Arc::clone(&asked),
            answer: Box::new(move |number, text| Box::pin(answer(number, text))),
        };
        let serving = tokio::spawn(serve(server, service, incoming));
        Self {
            address,
            asked,
            connections,
            serving,
        }
    }

    /// The same as `echo`, over TLS with a certificate and its key in PEM.
    pub(crate) async fn echo_over_tls(certificate: &str, key: &str) -> Self {
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        let server = Server::builder()
            .tls_config(tls)
            .expect("a certificate and its key");
        Self::on(server, 0, |_, text| async {
            Ok(Response::new(AskResponse { text }))
        })
        .await
    }

    /// The section that makes it the target `name`, with some more keys.
    pub(crate) fn section(&self, name: &str, keys: &str) -> String {
        self.section_of("http", name, keys)
    }

    /// The same, with another scheme.
    pub(crate) fn section_of(&self, scheme: &str, name: &str, keys: &str) -> String {
        format!(
            "[upstreams.{name}]\nurl = \"{scheme}://{}\"\n{keys}\n",
            self.address
        )
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(
    server: Server,
    service: Service,
    incoming: impl Stream<Item = std::io::Result<TcpStream>> + Send + 'static,
) {
    let served = server.serve_with_incoming(BackendServer::new(service), incoming);
    served.await.expect("it serves");
}

struct Service {
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Box<dyn Fn(usize, String) -> Answer + Send + Sync>,
}

#[tonic::async_trait]
impl backend_server::Backend for Service {
    async fn ask(&self, request: Request<AskRequest>) -> Result<Response<AskResponse>, Status> {
        let (metadata, _, AskRequest { text }) = request.into_parts();
        let number = {
            let mut asked = self.asked.lock();
            asked.push(Asked {
                text: text.clone(),
                metadata,
            });
            asked.len()
        };
        (self.answer)(number, text).await
    }

    type WatchStream = ReceiverStream<Result<AskResponse, Status>>;

    async fn watch(&self, _: Request<AskRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("no test watches"))
    }
}
