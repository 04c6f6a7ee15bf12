//! The client: HTTP/2 by hand, so that it costs little beside the servers that share its cores.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use prost::Message;

/// One connection to the order service of one server.
#[derive(Clone)]
pub(crate) struct Client {
    sender: SendRequest<Bytes>,
    address: SocketAddr,
}

/// What is asked for.
#[derive(Clone)]
pub(crate) struct Ask {
    method: &'static str,
    requests: Arc<Vec<Bytes>>,
}

impl Ask {
    /// Calls of `method`, with one request after the other.
    pub(crate) fn new<M: Message>(method: &'static str, requests: impl IntoIterator<Item = M>) -> Self {
        Self {
            method,
            requests: Arc::new(requests.into_iter().map(|request| framed(&request)).collect()),
        }
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await;
        let stream = stream.expect("the server listens");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self { sender, address }
    }

    /// Makes the `number`th call. Panics if the answer is not OK.
    pub(crate) async fn call(&self, ask: &Ask, number: usize) {
        let mut sender = self.sender.clone().ready().await.expect("the connection stands");
        let (address, method) = (self.address, ask.method);
        let head = http::Request::post(format!("http://{address}/order.v1.OrderService/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "30S")
            .header("user-agent", "mortise-bench")
            .body(())
            .expect("a request");
        let (response, mut body) = sender.send_request(head, false).expect("a stream");
        let request = ask.requests[number % ask.requests.len()].clone();
        body.send_data(request, true).expect("data");
        let mut body = response.await.expect("headers").into_body();
        let mut received = 0;
        while let Some(data) = body.data().await {
            let data = data.expect("data");
            received += data.len();
            body.flow_control()
                .release_capacity(data.len())
                .expect("capacity");
        }
        let trailers = body.trailers().await.expect("trailers").expect("trailers");
        assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
        assert!(received > 5, "there is a message");
    }
}

/// Keeps `calls` calls in flight on each of `connections` connections for `time`; gives calls per second.
pub(crate) async fn load(
    address: SocketAddr,
    ask: &Ask,
    (connections, calls): (usize, usize),
    time: Duration,
) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut clients = Vec::new();
    for connection in 0..connections {
        let client = Client::connect(address).await;
        for call in 0..calls {
            let (client, done, ask) = (client.clone(), done.clone(), ask.clone());
            clients.push(tokio::spawn(async move {
                // Not in step, so that reads are spread.
                let mut number = 7_919 * (connection * calls + call);
                while started.elapsed() < time {
                    client.call(&ask, number).await;
                    number += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    }
    for client in clients {
        client.await.expect("every call is answered");
    }
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.encoded_len() as u32);
    message.encode(&mut bytes).expect("room");
    bytes.freeze()
}
