//! The time to pay.

use std::time::Duration;

use mortise_guest::Code;
use mortise_guest::prost::Message;
use mortise_guest::testing::{Host, Request};
use order::Orders;
use order::pb::{CancelUnpaidRequest, OrderStatus, OrderTimersMethod};

use crate::shop::{an_order, anonymous, by, cancel, events, get, pay, placed, shop};

const HOUR: Duration = Duration::from_secs(3600);

fn impatient_shop() -> Host {
    shop().config("pay_within_s", 3600)
}

fn fire(host: &mut Host) -> usize {
    let fired = host.fire_timers::<Orders>();
    assert!(fired.iter().all(|fired| fired.result.is_ok()), "{fired:?}");
    fired.len()
}

#[test]
fn an_order_that_is_not_paid_in_time_is_cancelled() {
    let mut host = impatient_shop();
    let id = placed(&mut host, by("ann"), an_order());
    host.advance(HOUR - Duration::from_secs(1));
    assert_eq!(fire(&mut host), 0);
    host.advance(Duration::from_secs(1));
    assert_eq!(fire(&mut host), 1);
    let order = get(&mut host, by("ann"), &id).expect("stored").message;
    assert_eq!((order.status(), order.version), (OrderStatus::Cancelled, 2));
    assert_eq!(
        events(&host),
        [("order.created", &*id), ("order.cancelled", &*id)]
    );
    assert_eq!(host.events()[1].decode().ok(), Some(order));
    assert!(host.timers().is_empty());
}

#[test]
fn an_order_that_is_paid_or_cancelled_waits_no_more() {
    let mut host = impatient_shop();
    for change in [pay, cancel] {
        let id = placed(&mut host, anonymous(), an_order());
        assert_eq!(host.timers().len(), 1);
        let changed = change(&mut host, anonymous(), &id, None)
            .expect("confirmed")
            .message;
        assert!(host.timers().is_empty(), "its timer is cancelled");
        host.advance(HOUR);
        assert_eq!(fire(&mut host), 0);
        assert_eq!(get(&mut host, anonymous(), &id).expect("stored").message, changed);
    }
}

#[test]
fn without_the_setting_orders_wait_for_ever() {
    let mut host = shop();
    placed(&mut host, anonymous(), an_order());
    assert!(host.timers().is_empty());
    let mut host = shop().config("pay_within_s", u64::MAX);
    placed(&mut host, anonymous(), an_order());
    assert!(host.timers().is_empty(), "later than the clock goes is never");
}

#[test]
fn clients_cannot_let_an_order_lapse() {
    let mut host = impatient_shop();
    let id = placed(&mut host, by("ann"), an_order());
    let request = CancelUnpaidRequest { id }.encode_to_vec();
    let path = OrderTimersMethod::CANCEL_UNPAID.path();
    let refused = host.unary::<Orders>(Request::new(), path, &request);
    assert_eq!(refused.expect_err("internal").status.code(), Code::Unimplemented);
}
