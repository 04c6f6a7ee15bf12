//! `PayOrder`, `ShipOrder` and `CancelOrder`.

use mortise_guest::testing::Host;
use mortise_guest::{Code, details};
use order::pb::{OrderService, OrderStatus};
use order::{Orders, pb};

use crate::shop::{an_order, anonymous, by, cancel, events, get, pay, placed, refused, ship, shop};

#[test]
fn an_order_is_paid_and_shipped() {
    let mut host = shop();
    let id = placed(&mut host, by("ann"), an_order());
    let paid = pay(&mut host, by("ann"), &id, Some(1))
        .expect("confirmed")
        .message;
    assert_eq!((paid.status(), paid.version), (OrderStatus::Paid, 2));
    let shipped = ship(&mut host, by("ann"), &id, None).expect("paid").message;
    assert_eq!((shipped.status(), shipped.version), (OrderStatus::Shipped, 3));
    assert_eq!(get(&mut host, by("ann"), &id).expect("stored").message, shipped);
    let id = id.as_str();
    assert_eq!(
        events(&host),
        [("order.created", id), ("order.paid", id), ("order.shipped", id)]
    );
    assert_eq!(host.events()[2].decode().ok(), Some(shipped));
}

#[test]
fn a_confirmed_or_paid_order_is_cancelled() {
    let mut host = shop();
    for paid_first in [false, true] {
        let id = placed(&mut host, anonymous(), an_order());
        if paid_first {
            pay(&mut host, anonymous(), &id, None).expect("confirmed");
        }
        let cancelled = cancel(&mut host, by("bob"), &id, None)
            .expect("open to all")
            .message;
        assert_eq!(cancelled.status(), OrderStatus::Cancelled);
        assert_eq!(events(&host).last(), Some(&("order.cancelled", id.as_str())));
    }
}

#[test]
fn who_pays_while_another_cancels_is_told_so_and_nothing_is_left_of_it() {
    let mut host = shop();
    let id = placed(&mut host, anonymous(), an_order());
    let rival = |host: &mut Host, _| drop(cancel(host, anonymous(), &id, None));
    let request = pb::PayOrderRequest {
        id: id.clone(),
        version: None,
    };
    let paid = host.contended(anonymous(), 1, rival, |call| {
        Orders::pay_order(call, request.clone())
    });
    refused(paid, Code::FailedPrecondition);
    let order = get(&mut host, anonymous(), &id).expect("stored").message;
    assert_eq!((order.status(), order.version), (OrderStatus::Cancelled, 2));
    assert_eq!(
        events(&host),
        [("order.created", &*id), ("order.cancelled", &*id)]
    );
}

#[test]
fn a_shipped_order_cannot_be_cancelled() {
    let mut host = shop();
    let id = placed(&mut host, anonymous(), an_order());
    pay(&mut host, anonymous(), &id, None).expect("confirmed");
    ship(&mut host, anonymous(), &id, None).expect("paid");
    let failure = refused(
        cancel(&mut host, anonymous(), &id, None),
        Code::FailedPrecondition,
    );
    let message = format!("Order {id} is SHIPPED; to become CANCELLED it must be CONFIRMED or PAID");
    assert_eq!(failure.status.message(), message);
    let precondition: details::PreconditionFailure = failure.status.detail().expect("PreconditionFailure");
    let [violation] = precondition.violations.as_slice() else {
        panic!("one violation")
    };
    assert_eq!(
        (violation.r#type.as_str(), &violation.subject),
        ("ORDER_STATUS", &id)
    );
    assert_eq!(violation.description, message);
    assert_eq!(events(&host).len(), 3);
}

#[test]
fn what_an_orders_status_does_not_allow_is_refused() {
    let mut host = shop();
    let id = placed(&mut host, anonymous(), an_order());
    refused(ship(&mut host, anonymous(), &id, None), Code::FailedPrecondition);
    pay(&mut host, anonymous(), &id, None).expect("confirmed");
    refused(pay(&mut host, anonymous(), &id, None), Code::FailedPrecondition);
    cancel(&mut host, anonymous(), &id, None).expect("paid");
    for change in [pay, ship, cancel] {
        refused(
            change(&mut host, anonymous(), &id, None),
            Code::FailedPrecondition,
        );
    }
}

#[test]
fn a_stale_version_is_aborted_and_changes_nothing() {
    let mut host = shop();
    let id = placed(&mut host, anonymous(), an_order());
    let paid = pay(&mut host, anonymous(), &id, Some(1))
        .expect("current")
        .message;
    for version in [1, 3, 0, -1] {
        let failure = refused(cancel(&mut host, anonymous(), &id, Some(version)), Code::Aborted);
        let message = format!("Order {id} is at version 2, not {version}; read it again");
        assert_eq!(failure.status.message(), message);
        let info: details::ErrorInfo = failure.status.detail().expect("ErrorInfo");
        assert_eq!(info.reason, "STALE_VERSION");
        assert_eq!(
            info.metadata.get("current_version").map(String::as_str),
            Some("2")
        );
    }
    assert_eq!(get(&mut host, anonymous(), &id).expect("stored").message, paid);
    assert_eq!(events(&host).len(), 2);
}

#[test]
fn another_identitys_order_is_denied_before_its_state_is_told() {
    let mut host = shop();
    let id = placed(&mut host, by("ann"), an_order());
    for change in [pay, ship, cancel] {
        let failure = refused(change(&mut host, by("bob"), &id, Some(9)), Code::PermissionDenied);
        assert_eq!(failure.status.message(), "Access denied");
        refused(change(&mut host, by("ann"), "ORD-NONE", None), Code::NotFound);
        refused(change(&mut host, by("ann"), "", None), Code::InvalidArgument);
    }
    assert_eq!(
        get(&mut host, by("ann"), &id).expect("unchanged").message.version,
        1
    );
}
