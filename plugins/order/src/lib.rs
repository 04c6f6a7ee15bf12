//! A shop's orders: placed, paid, shipped or cancelled.
//!
//! Reading order: the handlers below; [`session`], what every call goes through; [`domain`], the rules;
//! [`orders`], what is stored; [`payment`], the time to pay; [`refusals`], how a broken rule reaches the
//! client.

mod domain;
mod identity;
mod listing;
mod orders;
mod payment;
mod refusals;
mod session;
mod settings;

/// The messages and the services of `order/v1/order.proto` and `order/v1/timers.proto`.
pub mod pb {
    mortise_guest::include_proto!("order.v1");
}

use mortise_guest::{Call, ReadCall, Status};
use tracing::info;

use crate::domain::lifecycle::{self, Action};
use crate::domain::place;
use crate::orders::Record;
use crate::session::Session;
pub use crate::settings::Settings;

/// The order service.
#[derive(Debug)]
pub struct Orders;

#[mortise_guest::plugin(config = Settings, with(pb::OrderTimers))]
impl pb::OrderService for Orders {
    fn create_order(call: &mut Call, request: pb::Order) -> Result<pb::OrderResponse, Status> {
        Session::run(call, |session| {
            let currency = &session.settings.currency.0;
            let order = place::place(request, currency, session.now)
                .map_err(|violations| refusals::invalid("Invalid order data", violations))?;
            let mut record = orders::insert(call, &session.identity, order)?;
            payment::expect(call, &session.settings, &mut record)?;
            let order = record.order;
            call.publish("order.created", &order.order_id, &order)?;
            info!(
                order_id = order.order_id,
                total = order.total,
                currency = order.currency,
                "order created"
            );
            Ok(pb::OrderResponse {
                status: lifecycle::name(order.status()).to_owned(),
                order_id: order.order_id,
                confirmed_at: order.created_at,
                total: order.total,
            })
        })
    }

    fn get_order(call: &mut ReadCall, request: pb::GetOrderRequest) -> Result<pb::Order, Status> {
        Session::run(call, |session| {
            Ok(orders::find(call, &session.identity, &request.id)?.order)
        })
    }

    fn list_orders(
        call: &mut ReadCall,
        request: pb::ListOrdersRequest,
    ) -> Result<pb::ListOrdersResponse, Status> {
        Session::run(call, |session| listing::list(call, session, request))
    }

    fn pay_order(call: &mut Call, request: pb::PayOrderRequest) -> Result<pb::Order, Status> {
        change(call, Action::Pay, &request.id, request.version)
    }

    fn ship_order(call: &mut Call, request: pb::ShipOrderRequest) -> Result<pb::Order, Status> {
        change(call, Action::Ship, &request.id, request.version)
    }

    fn cancel_order(call: &mut Call, request: pb::CancelOrderRequest) -> Result<pb::Order, Status> {
        change(call, Action::Cancel, &request.id, request.version)
    }
}

#[mortise_guest::handlers]
impl pb::OrderTimers for Orders {
    fn cancel_unpaid(
        call: &mut Call,
        request: pb::CancelUnpaidRequest,
    ) -> Result<pb::CancelUnpaidResponse, Status> {
        let mut record = orders::get(call, &request.id)?;
        // Paid in time or cancelled, although the timer had begun.
        if lifecycle::apply(&mut record.order, Action::Lapse, None).is_err() {
            return Ok(pb::CancelUnpaidResponse { cancelled: false });
        }
        commit(call, Action::Lapse, record)?;
        Ok(pb::CancelUnpaidResponse { cancelled: true })
    }
}

/// Pays, ships or cancels the order, if it still is at the version that the caller saw.
fn change(call: &Call, action: Action, id: &str, version: Option<i64>) -> Result<pb::Order, Status> {
    Session::run(call, |session| {
        let mut record = orders::find(call, &session.identity, id)?;
        lifecycle::apply(&mut record.order, action, version)
            .map_err(|refusal| refusals::impossible(id, action, version, refusal))?;
        commit(call, action, record)
    })
}

/// Stores and tells of what was done to the order.
fn commit(call: &Call, action: Action, mut record: Record) -> Result<pb::Order, Status> {
    payment::no_longer_expect(call, &mut record)?;
    orders::update(call, &record)?;
    let order = record.order;
    call.publish(action.topic(), &order.order_id, &order)?;
    info!(
        order_id = order.order_id,
        status = lifecycle::name(order.status()),
        "order changed"
    );
    Ok(order)
}
