//! The client: HTTP/2 by hand, so that it costs little beside the servers that share its cores.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;

use crate::native::pb;

/// What was achieved.
pub(crate) struct Load {
    pub(crate) calls: u64,
    pub(crate) elapsed: Duration,
}

impl Load {
    /// Keeps `calls` calls in flight on each connection for `time`. Panics if any answer is not as it must be.
    pub(crate) async fn run(address: SocketAddr, connections: usize, calls: usize, time: Duration) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let (request, expected) = (framed(&order()), framed(&confirmation()));
        let started = Instant::now();
        let mut clients = Vec::new();
        for _ in 0..connections {
            let stream = tokio::net::TcpStream::connect(address)
                .await
                .expect("the server listens");
            stream.set_nodelay(true).expect("TCP_NODELAY");
            let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            for _ in 0..calls {
                let (client, done) = (client.clone(), done.clone());
                let (request, expected) = (request.clone(), expected.clone());
                clients.push(tokio::spawn(async move {
                    while started.elapsed() < time {
                        call(client.clone(), address, request.clone(), &expected).await;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }));
            }
        }
        for client in clients {
            client.await.expect("every answer is as it must be");
        }
        Self {
            calls: done.load(Ordering::Relaxed),
            elapsed: started.elapsed(),
        }
    }
}

async fn call(client: SendRequest<Bytes>, address: SocketAddr, request: Bytes, expected: &Bytes) {
    let mut client = client.ready().await.expect("the connection stands");
    let head = http::Request::post(format!("http://{address}/bench.v1.Bench/Place"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "10S")
        .header("user-agent", "mortise-bench")
        .header("x-request-id", "0123456789abcdef")
        .body(())
        .expect("a request");
    let (response, mut body) = client.send_request(head, false).expect("a stream");
    body.send_data(request, true).expect("data");
    let response = response.await.expect("headers");
    let headers = response.headers().clone();
    assert_eq!(headers["x-request-id"], "0123456789abcdef");
    let mut body = response.into_body();
    let mut received = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.expect("data");
        body.flow_control()
            .release_capacity(data.len())
            .expect("capacity");
        received.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.expect("trailers").expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    // A plain tonic handler can only send it with the headers.
    let processing_time = trailers
        .get("processing-time-ms")
        .or(headers.get("processing-time-ms"));
    assert_eq!(processing_time.expect("processing time"), "0");
    assert_eq!(received, expected);
}

fn framed(message: &impl prost::Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.encoded_len() as u32);
    message.encode(&mut bytes).expect("room");
    bytes.freeze()
}

fn order() -> pb::Order {
    let item = |sku: &str| pb::Item {
        sku: sku.into(),
        quantity: 2,
        price: 1450,
    };
    pb::Order {
        customer_id: "customer-1".into(),
        items: vec![item("coffee"), item("filter"), item("kettle")],
    }
}

/// What the handler answers, by the handler's own code.
fn confirmation() -> pb::Confirmation {
    crate::native::place::place(&order()).expect("a valid order")
}
