//! A shop on a fake host, and the calls that the tests make.

use mortise_guest::testing::{Failure, Host, Request, Response};
use mortise_guest::{Code, details};
use order::pb::OrderService;
use order::{Orders, pb};

/// A fake host where `user-id` names the caller.
pub fn shop() -> Host {
    Host::new().config("trust_user_id", true)
}

/// A call by nobody.
pub fn anonymous() -> Request {
    Request::new()
}

/// A call by `user`.
pub fn by(user: &str) -> Request {
    Request::new().metadata("user-id", user)
}

/// An order with only what it must have.
pub fn an_order() -> pb::Order {
    pb::Order {
        customer_id: "c1".to_owned(),
        items: vec![item("tea", 2, 350)],
        ..pb::Order::default()
    }
}

pub fn item(sku: &str, quantity: i32, price: i64) -> pb::OrderItem {
    pb::OrderItem {
        sku: sku.to_owned(),
        quantity,
        price,
    }
}

pub type Answer<T> = Result<Response<T>, Failure>;

pub fn create(host: &mut Host, request: Request, order: pb::Order) -> Answer<pb::OrderResponse> {
    host.call(request, |call| Orders::create_order(call, order))
}

pub fn get(host: &mut Host, request: Request, id: &str) -> Answer<pb::Order> {
    let message = pb::GetOrderRequest { id: id.to_owned() };
    host.call(request.read_only(), |call| Orders::get_order(call, message))
}

pub fn list(
    host: &mut Host,
    request: Request,
    message: pb::ListOrdersRequest,
) -> Answer<pb::ListOrdersResponse> {
    host.call(request.read_only(), |call| Orders::list_orders(call, message))
}

pub fn pay(host: &mut Host, request: Request, id: &str, version: Option<i64>) -> Answer<pb::Order> {
    let message = pb::PayOrderRequest {
        id: id.to_owned(),
        version,
    };
    host.call(request, |call| Orders::pay_order(call, message))
}

pub fn ship(host: &mut Host, request: Request, id: &str, version: Option<i64>) -> Answer<pb::Order> {
    let message = pb::ShipOrderRequest {
        id: id.to_owned(),
        version,
    };
    host.call(request, |call| Orders::ship_order(call, message))
}

pub fn cancel(host: &mut Host, request: Request, id: &str, version: Option<i64>) -> Answer<pb::Order> {
    let message = pb::CancelOrderRequest {
        id: id.to_owned(),
        version,
    };
    host.call(request, |call| Orders::cancel_order(call, message))
}

/// Places an order that must be accepted, and gives its name.
pub fn placed(host: &mut Host, request: Request, order: pb::Order) -> String {
    create(host, request, order)
        .expect("the order is valid")
        .message
        .order_id
}

/// The failure of a call that must fail with `code`.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(answer: Answer<T>, code: Code) -> Failure {
    let failure = answer.expect_err("the call must be refused");
    assert_eq!(failure.status.code(), code, "{failure}");
    failure
}

/// The fields that an INVALID_ARGUMENT names.
pub fn violated_fields(failure: &Failure) -> Vec<String> {
    let details: details::BadRequest = failure.status.detail().expect("BadRequest");
    details
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

/// Topic and key of each event so far.
pub fn events(host: &Host) -> Vec<(&str, &str)> {
    host.events()
        .iter()
        .map(|event| (event.topic.as_str(), event.key.as_str()))
        .collect()
}
