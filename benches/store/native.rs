//! The baseline: the order plugin's own rules behind a plain tonic server, which keeps the same rows in the
//! same store, publishes the same events and logs the same line.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use bytes::Bytes;
use mortise::capability::Namespace;
use mortise::capability::events::{JsonLines, Relay, RelayOptions};
use mortise::capability::store::{Access, Options, Store, Transaction};
use prost::Message;
use tonic::{Request, Response, Status};

use crate::domain::{id, place};
use crate::pb;
use crate::support::server::Server;

/// Makes this program the server instead of the benchmark.
pub(crate) const ARGUMENT: &str = "native";

struct Orders {
    store: Store,
    namespace: Namespace,
}

impl Orders {
    fn insert(&self, mut order: pb::Order) -> Result<(Transaction, pb::Order), Status> {
        let mut transaction = self.store.begin(&self.namespace, Access::ReadWrite);
        if order.order_id.is_empty() {
            order.order_id = id::from_random(rand::random());
        }
        let encoded = Bytes::from(order.encode_to_vec());
        let inserted = transaction.insert(&key(&order.order_id), encoded.clone());
        if !inserted.map_err(failed)? {
            return Err(Status::already_exists("The order exists"));
        }
        for customer in ["", &order.customer_id] {
            let listed = listed(customer, &order);
            let id = Bytes::copy_from_slice(order.order_id.as_bytes());
            transaction.put(&listed, id).map_err(failed)?;
        }
        let published = transaction.publish("order.created", &order.order_id, encoded);
        published.map_err(failed)?;
        Ok((transaction, order))
    }
}

#[tonic::async_trait]
impl pb::order_service_server::OrderService for Orders {
    async fn create_order(&self, request: Request<pb::Order>) -> Result<Response<pb::OrderResponse>, Status> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.expect("after 1970").as_nanos() as i64;
        let order = place::place(request.into_inner(), "USD", now);
        let order = order.map_err(|_| Status::invalid_argument("Invalid order data"))?;
        let (transaction, order) = self.insert(order)?;
        tracing::info!(
            order_id = order.order_id,
            total = order.total,
            currency = order.currency,
            "order created"
        );
        let committed = self.store.commit(transaction).await;
        committed.map_err(|error| Status::unavailable(error.to_string()))?;
        answer(pb::OrderResponse {
            status: "CONFIRMED".into(),
            order_id: order.order_id,
            confirmed_at: order.created_at,
            total: order.total,
        })
    }

    async fn get_order(&self, request: Request<pb::GetOrderRequest>) -> Result<Response<pb::Order>, Status> {
        let id = request.into_inner().id;
        place::id("id", &id).map_err(|_| Status::invalid_argument("Invalid request"))?;
        let mut transaction = self.store.begin(&self.namespace, Access::ReadOnly);
        let found = transaction.get(&key(&id)).map_err(failed)?;
        let found = found.ok_or_else(|| Status::not_found("There is no such order"))?;
        let order = pb::Order::decode(found.value).map_err(|_| Status::data_loss("unreadable"))?;
        answer(order)
    }

    async fn list_orders(
        &self,
        _: Request<pb::ListOrdersRequest>,
    ) -> Result<Response<pb::ListOrdersResponse>, Status> {
        not_measured()
    }

    async fn pay_order(&self, _: Request<pb::PayOrderRequest>) -> Result<Response<pb::Order>, Status> {
        not_measured()
    }

    async fn ship_order(&self, _: Request<pb::ShipOrderRequest>) -> Result<Response<pb::Order>, Status> {
        not_measured()
    }

    async fn cancel_order(&self, _: Request<pb::CancelOrderRequest>) -> Result<Response<pb::Order>, Status> {
        not_measured()
    }
}

fn not_measured<M>() -> Result<Response<M>, Status> {
    Err(Status::unimplemented("This method is not measured"))
}

/// With the metadata that the plugin sends.
fn answer<M>(message: M) -> Result<Response<M>, Status> {
    let mut response = Response::new(message);
    let metadata = response.metadata_mut();
    metadata.insert("server-version", "0.1.0".parse().expect("ASCII"));
    metadata.insert("processing-time-ms", "0".parse().expect("ASCII"));
    Ok(response)
}

fn failed(error: mortise::capability::Error) -> Status {
    Status::internal(error.to_string())
}

fn key(id: &str) -> Vec<u8> {
    format!("orders\0{id}\0").into_bytes()
}

fn listed(customer: &str, order: &pb::Order) -> Vec<u8> {
    let mut key = format!("orders.listed\0\0{customer}\0").into_bytes();
    key.push(order.status as u8);
    key.extend(order.created_at.to_be_bytes());
    key.extend(order.order_id.as_bytes());
    key
}

/// Starts this program as the server, on data of its own.
pub(crate) fn start(data: &Path) -> Server {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args([ARGUMENT.as_ref(), data.as_os_str()]);
    // Its log goes where the host's goes.
    Server::announced(command.stderr(Stdio::null()))
}

/// Serves until it is killed, on a port that it prints.
pub(crate) fn serve(data: &Path) {
    tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(&data.join("store"), Options::default()).expect("a store");
        let sink = JsonLines::open(&data.join("events.jsonl")).expect("a file");
        let relay = Relay::start(&store, vec![Box::new(sink)], RelayOptions::default());
        let _relay = relay.await.expect("it starts");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let namespace = Namespace::new("order").expect("a name");
        let orders = Orders { store, namespace };
        tonic::transport::Server::builder()
            .serve_with_incoming(
                pb::order_service_server::OrderServiceServer::new(orders),
                incoming,
            )
            .await
            .expect("serving");
    });
}
