//! Clients of a host that is going to die, and what they know of their orders.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::idempotency::{keyed, seen};
use crate::orders::order;
use crate::support::pb::order::order_service_client::OrderServiceClient;
use crate::support::pb::order::*;
use crate::support::{Host, until_some, within_patience};

const CLIENTS: usize = 8;

/// An answer with its metadata.
type Answer = (Vec<u8>, Vec<String>);

pub(super) struct Clients {
    running: JoinSet<Client>,
    answers: UnboundedReceiver<()>,
}

/// Clients whose host is gone.
pub(super) struct Bereft(Vec<Client>);

#[derive(Debug)]
struct Client {
    name: String,
    orders: OrderServiceClient<Channel>,
    known: BTreeMap<String, Known>,
}

/// What a client knows of one order, which it has asked to place.
#[derive(Debug, Default)]
struct Known {
    placed: Option<Answer>,
    asked_to_pay: bool,
    paid: Option<Answer>,
}

impl Clients {
    pub(super) fn start(channel: Channel, round: usize) -> Self {
        let (answered, answers) = unbounded_channel();
        let client = |number: usize| {
            let client = Client {
                name: format!("{round}-{number}"),
                orders: OrderServiceClient::new(channel.clone()),
                known: BTreeMap::new(),
            };
            client.run(answered.clone())
        };
        Self {
            running: (0..CLIENTS).map(client).collect(),
            answers,
        }
    }

    /// Waits until they have got so many answers.
    pub(super) async fn answered(&mut self, count: usize) {
        for _ in 0..count {
            let answer = within_patience("an answer", self.answers.recv()).await;
            answer.expect("the host lives");
        }
    }

    /// Waits until they have noticed that the host is gone.
    pub(super) async fn ended(self) -> Bereft {
        Bereft(within_patience("the end of the clients", self.running.join_all()).await)
    }
}

impl Client {
    /// Places orders and pays them, until the host is gone.
    async fn run(mut self, answered: UnboundedSender<()>) -> Self {
        loop {
            let id = format!("{}-{}", self.name, self.known.len());
            let known = self.known.entry(id.clone()).or_default();
            let orders = &mut self.orders;
            let Ok(placed) = place(orders, &self.name, &id).await else {
                return self;
            };
            known.placed = Some(placed);
            // Nobody may be counting.
            let _ = answered.send(());
            known.asked_to_pay = true;
            let Ok(paid) = pay(orders, &id).await else {
                return self;
            };
            known.paid = Some(paid);
            let _ = answered.send(());
        }
    }

    async fn find_what_it_was_told(mut self, channel: Channel) -> BTreeMap<String, Known> {
        self.orders = OrderServiceClient::new(channel);
        for (id, known) in &self.known {
            let orders = &mut self.orders;
            match get(orders, id).await {
                None => assert!(known.placed.is_none(), "{id} is lost: {known:?}"),
                Some(found) => {
                    let paid = found.status() == OrderStatus::Paid;
                    assert!(paid || known.paid.is_none(), "{id} was paid: {known:?}");
                    assert!(known.asked_to_pay || !paid, "{id} was not to be paid: {known:?}");
                    assert_eq!(found, whole(&self.name, &found, paid), "{id}");
                }
            }
            let placed = place(orders, &self.name, id).await;
            let placed =
                placed.unwrap_or_else(|status| panic!("{id} is placed again: {status:?}, {known:?}"));
            assert!(
                known.placed.iter().all(|first| *first == placed),
                "{id}: {known:?}"
            );
            if known.asked_to_pay {
                let paid = pay(orders, id).await;
                let paid = paid.unwrap_or_else(|status| panic!("{id} is paid again: {status:?}, {known:?}"));
                assert!(known.paid.iter().all(|first| *first == paid), "{id}: {known:?}");
            }
        }
        let listed = self.list().await;
        assert!(listed.keys().eq(self.known.keys()), "{listed:#?}");
        for (id, order) in &listed {
            let paid = self.known[id].asked_to_pay;
            assert_eq!(*order, whole(&self.name, order, paid), "{id}");
        }
        self.known
    }

    async fn list(&mut self) -> BTreeMap<String, Order> {
        let mut request = ListOrdersRequest {
            customer_id: self.name.clone(),
            ..ListOrdersRequest::default()
        };
        let mut listed = BTreeMap::new();
        loop {
            let page = self.orders.list_orders(request.clone()).await;
            let page = page.expect("listed").into_inner();
            listed.extend(
                page.orders
                    .into_iter()
                    .map(|order| (order.order_id.clone(), order)),
            );
            if page.next_page_token.is_empty() {
                return listed;
            }
            request.page_token = page.next_page_token;
        }
    }
}

impl Bereft {
    /// Whatever they were told is so; of what they were not told, each thing is so or is not; and their
    /// calls can be repeated.
    pub(super) async fn find_what_they_were_told(self, host: &Host) {
        let clients: JoinSet<_> = self
            .0
            .into_iter()
            .map(|client| client.find_what_it_was_told(host.channel()))
            .collect();
        let known = within_patience("answers of the new host", clients.join_all()).await;
        let known: BTreeMap<_, _> = known.into_iter().flatten().collect();
        let topics = |known: &Known| match known.asked_to_pay {
            true => vec!["order.created", "order.paid"],
            false => vec!["order.created"],
        };
        let published: BTreeMap<_, _> = known
            .iter()
            .map(|(id, known)| (id.clone(), topics(known)))
            .collect();
        let count: usize = published.values().map(Vec::len).sum();
        let delivered = until_some("every event", async || {
            let delivered = delivered(&host.data, &known);
            (delivered.values().map(Vec::len).sum::<usize>() >= count).then_some(delivered)
        });
        assert_eq!(
            delivered.await,
            published,
            "each event once by its id, in order for each key"
        );
    }
}

/// The topics of the events with the keys of `known`, in the order of their first delivery.
fn delivered(data: &Path, known: &BTreeMap<String, Known>) -> BTreeMap<String, Vec<&'static str>> {
    let text = std::fs::read_to_string(data.join("events.jsonl")).unwrap_or_default();
    // The last line may still be on its way.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut ids = std::collections::HashSet::new();
    let mut delivered: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for line in whole.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let text = |field: &str| line[field].as_str().expect("text").to_owned();
        if known.contains_key(&text("key")) && ids.insert(text("id")) {
            let topic = match text("topic").as_str() {
                "order.created" => "order.created",
                "order.paid" => "order.paid",
                other => panic!("nobody published {other}"),
            };
            delivered.entry(text("key")).or_default().push(topic);
        }
    }
    delivered
}

/// As `found` must be, but for what the host chose.
fn whole(customer: &str, found: &Order, paid: bool) -> Order {
    let (status, version) = match paid {
        true => (OrderStatus::Paid, 2),
        false => (OrderStatus::Confirmed, 1),
    };
    Order {
        customer_id: customer.into(),
        currency: found.currency.clone(),
        created_at: found.created_at,
        total: 2100,
        status: status.into(),
        version,
        ..order(&found.order_id)
    }
}

async fn place(orders: &mut OrderServiceClient<Channel>, customer: &str, id: &str) -> Result<Answer, Status> {
    let order = Order {
        customer_id: customer.into(),
        ..order(id)
    };
    let answer = orders.create_order(keyed(&format!("place-{id}"), order)).await?;
    Ok(seen(&answer))
}

async fn pay(orders: &mut OrderServiceClient<Channel>, id: &str) -> Result<Answer, Status> {
    let request = PayOrderRequest {
        id: id.into(),
        version: None,
    };
    let answer = orders.pay_order(keyed(&format!("pay-{id}"), request)).await?;
    Ok(seen(&answer))
}

async fn get(orders: &mut OrderServiceClient<Channel>, id: &str) -> Option<Order> {
    match orders.get_order(GetOrderRequest { id: id.into() }).await {
        Ok(found) => Some(found.into_inner()),
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{status:?}");
            None
        }
    }
}
