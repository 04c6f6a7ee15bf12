//! The client: HTTP/2 by hand on one thread, so that it costs little beside the servers that share its
//! processors. Every answer is checked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;

use crate::logic;
use crate::pb;

/// What HTTP/2 lets a server send ahead: more than any answer.
const WINDOW: u32 = 64 << 20;

/// For a host to compile a thousand plugins.
const LOADING: Duration = Duration::from_secs(1800);

const REQUEST_ID: &str = "0123456789abcdef";

/// A call, and its answer as it must be.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// `/package.Service/Method`
    pub(crate) path: String,
    request: Bytes,
    answer: Bytes,
    /// Whether the handler answers with metadata.
    metadata: bool,
}

impl Call {
    pub(crate) fn new(path: &str, request: &impl prost::Message, answer: &impl prost::Message) -> Self {
        Self {
            path: path.to_owned(),
            request: framed(request),
            answer: framed(answer),
            metadata: false,
        }
    }

    /// An order, with an answer by the handler's own code.
    pub(crate) fn place() -> Self {
        let item = |sku: &str| pb::Item {
            sku: sku.into(),
            quantity: 2,
            price: 1450,
        };
        let order = pb::Order {
            customer_id: "customer-1".into(),
            items: vec![item("coffee"), item("filter"), item("kettle")],
        };
        let confirmation = logic::place::place(&order).expect("a valid order");
        Self {
            metadata: true,
            ..Self::new("/bench.v1.Bench/Place", &order, &confirmation)
        }
    }

    /// So many bytes there and back.
    pub(crate) fn echo(bytes: usize) -> Self {
        let payload = pb::Payload {
            payload: (0..bytes).map(|index| index as u8).collect(),
        };
        Self::new("/bench.v1.Bench/Echo", &payload, &payload)
    }
}

/// One connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    sender: SendRequest<Bytes>,
}

/// Why a call did not end as it must.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        Self(error.to_string())
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("the server listens");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buffer_size(WINDOW as usize)
            .handshake(stream)
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        Self { address, sender }
    }

    /// Of a host that may still be loading its plugins, once it has answered `call`.
    pub(crate) async fn of_starting(address: SocketAddr, call: &Call) -> Self {
        let started = Instant::now();
        loop {
            let client = Self::connect(address).await;
            // It may have closed a connection that came long before it served.
            match client.call(call).await {
                Ok(()) => return client,
                Err(Failure(reason)) => assert!(started.elapsed() < LOADING, "no answer: {reason}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Makes a call and checks its answer.
    pub(crate) async fn call(&self, call: &Call) -> Result<(), Failure> {
        let (headers, answer, trailers) = self.send(&call.path, call.request.clone()).await?;
        if answer != call.answer {
            return Err(Failure("another answer".into()));
        }
        // A plain tonic handler can only send the second one with the headers.
        let time = trailers
            .get("processing-time-ms")
            .or(headers.get("processing-time-ms"));
        let metadata = headers.get("x-request-id").is_some_and(|id| id == REQUEST_ID)
            && time.is_some_and(|time| time == "0");
        if call.metadata && !metadata {
            return Err(Failure(format!("other metadata: {headers:?} {trailers:?}")));
        }
        Ok(())
    }

    /// Makes a call and gives what is answered.
    pub(crate) async fn ask<A: prost::Message + Default>(
        &self,
        path: &str,
        request: &impl prost::Message,
    ) -> Result<A, Failure> {
        let (_, answer, _) = self.send(path, framed(request)).await?;
        let message = answer.get(5..).ok_or(Failure("no message".into()))?;
        A::decode(message).map_err(|error| Failure(error.to_string()))
    }

    /// Headers, message and trailers of an answer that is OK.
    async fn send(
        &self,
        path: &str,
        request: Bytes,
    ) -> Result<(http::HeaderMap, Bytes, http::HeaderMap), Failure> {
        let mut sender = self.sender.clone().ready().await?;
        let head = http::Request::post(format!("http://{}{}", self.address, path))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "60S")
            .header("user-agent", "mortise-bench")
            .header("x-request-id", REQUEST_ID)
            .body(())
            .expect("a request");
        let (response, mut body) = sender.send_request(head, false)?;
        body.send_data(request, true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut received = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            received.extend_from_slice(&data);
        }
        let (headers, trailers) = (head.headers, body.trailers().await?.unwrap_or_default());
        let status = trailers.get("grpc-status").or(headers.get("grpc-status"));
        if status.is_none_or(|status| status != "0") {
            return Err(Failure(format!("not OK: {headers:?} {trailers:?}")));
        }
        Ok((headers, received.freeze(), trailers))
    }
}

fn framed(message: &impl prost::Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.encoded_len() as u32);
    message.encode(&mut bytes).expect("room");
    bytes.freeze()
}
