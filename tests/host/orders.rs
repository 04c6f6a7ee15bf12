//! The order service, from its first order to its last event.

use tonic::Code;
use tonic_types::StatusExt;

use crate::in_both_modes;
use crate::support::pb::order::*;
use crate::support::{Isolation, Plugin, Setup};

in_both_modes!(
    an_order_lives,
    metadata_goes_where_it_belongs,
    an_invalid_order_is_explained
);

pub(crate) fn order(id: &str) -> Order {
    Order {
        order_id: id.into(),
        customer_id: "customer-1".into(),
        items: vec![OrderItem {
            sku: "book".into(),
            quantity: 2,
            price: 1050,
        }],
        ..Order::default()
    }
}

async fn an_order_lives(isolation: Isolation) {
    let host = Setup::of(Plugin::order(isolation).config("currency", "\"EUR\""))
        .start()
        .await;
    let mut orders = host.orders();

    let placed = orders.create_order(order("")).await.expect("placed").into_inner();
    assert_eq!(placed.status, "CONFIRMED");
    assert_eq!(placed.total, 2100);
    let digits = placed.order_id.strip_prefix("ORD-").expect("a made id");
    assert!(
        digits.len() == 12 && digits.bytes().all(|digit| b"0123456789ABCDEF".contains(&digit)),
        "{digits}"
    );

    let id = placed.order_id;
    let found = orders
        .get_order(GetOrderRequest { id: id.clone() })
        .await
        .expect("found")
        .into_inner();
    let total = 2100;
    let expected = Order {
        order_id: id.clone(),
        currency: "EUR".into(),
        total,
        status: OrderStatus::Confirmed.into(),
        created_at: placed.confirmed_at,
        version: 1,
        ..order("")
    };
    assert_eq!(found, expected);

    let paid = orders
        .pay_order(PayOrderRequest {
            id: id.clone(),
            version: Some(1),
        })
        .await
        .expect("paid");
    assert_eq!(paid.get_ref().status(), OrderStatus::Paid);
    let stale = orders
        .ship_order(ShipOrderRequest {
            id: id.clone(),
            version: Some(1),
        })
        .await;
    assert_eq!(stale.expect_err("stale").code(), Code::Aborted);
    let shipped = orders
        .ship_order(ShipOrderRequest {
            id: id.clone(),
            version: None,
        })
        .await
        .expect("shipped");
    assert_eq!(shipped.get_ref().version, 3);
    let late = orders
        .cancel_order(CancelOrderRequest {
            id: id.clone(),
            version: None,
        })
        .await;
    let late = late.expect_err("it is shipped");
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert!(
        late.get_details_precondition_failure()
            .is_some_and(|details| !details.violations.is_empty())
    );

    let taken = orders.create_order(order(&id)).await.expect_err("taken");
    assert_eq!(taken.code(), Code::AlreadyExists);
    assert_eq!(
        taken.get_details_resource_info().expect("which").resource_name,
        id
    );
    let unknown = orders
        .get_order(GetOrderRequest { id: "none".into() })
        .await
        .expect_err("unknown");
    assert_eq!(
        (unknown.code(), unknown.message()),
        (Code::NotFound, "Order none not found")
    );

    let listed = orders
        .list_orders(ListOrdersRequest::default())
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(listed.orders, [shipped.into_inner()]);
    host.stop().await;
}

async fn metadata_goes_where_it_belongs(isolation: Isolation) {
    let host = Setup::of(Plugin::order(isolation).config("region", "\"eu-west-1\""))
        .start()
        .await;
    let headers = [("x-request-id", "request-7")];
    let answer = host
        .raw()
        .await
        .unary("/order.v1.OrderService/CreateOrder", &headers, &order("a"))
        .await;
    assert_eq!(answer.message::<OrderResponse>().order_id, "a");
    let trailers = answer.trailers.expect("trailers");
    assert_eq!(answer.headers["region"], "eu-west-1");
    assert_eq!(answer.headers["x-request-id"], "request-7");
    assert!(answer.headers.contains_key("server-version"));
    assert!(trailers.contains_key("processing-time-ms"));
    assert!(!answer.headers.contains_key("processing-time-ms") && !trailers.contains_key("region"));
    host.stop().await;
}

async fn an_invalid_order_is_explained(isolation: Isolation) {
    let host = Setup::of(Plugin::order(isolation)).start().await;
    let refused = host
        .orders()
        .create_order(Order::default())
        .await
        .expect_err("empty");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("Invalid order data"), "{refused}");
    let details = refused.get_details_bad_request().expect("every violation");
    let fields: Vec<_> = details
        .field_violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    assert!(
        fields.contains(&"customer_id") && fields.contains(&"items"),
        "{fields:?}"
    );

    let garbage = host
        .raw()
        .await
        .call(
            "/order.v1.OrderService/CreateOrder",
            &[],
            &b"\0\0\0\0\x02\x0a\xff"[..],
        )
        .await;
    assert_eq!(garbage.code(), Code::Internal);
    host.stop().await;
}
