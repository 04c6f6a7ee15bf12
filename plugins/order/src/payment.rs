//! The time to pay: a timer for each order that waits for its payment.

use std::time::Duration;

use mortise_guest::{Call, Status};

use crate::orders::{self, Record};
use crate::pb::{CancelUnpaidRequest, OrderTimersMethod};
use crate::settings::Settings;

/// Has the new order cancelled unless it is paid in time, where the operator says how long that is.
pub fn expect(call: &Call, settings: &Settings, record: &mut Record) -> Result<(), Status> {
    let Some(seconds) = settings.pay_within_s else {
        return Ok(());
    };
    // Later than the clock goes is never.
    let Some(due) = call.now().checked_add(Duration::from_secs(seconds)) else {
        return Ok(());
    };
    let request = CancelUnpaidRequest {
        id: record.order.order_id.clone(),
    };
    let timer = call.schedule(due, OrderTimersMethod::CANCEL_UNPAID, &request)?;
    record.payment_timer = timer.into_string();
    orders::update(call, record)
}

/// The order waits for its payment no more: its timer would find nothing to do, and counts among those that
/// the plugin may have.
pub fn no_longer_expect(call: &Call, record: &mut Record) -> Result<(), Status> {
    if !record.payment_timer.is_empty() {
        // False if it is that very timer that calls.
        call.cancel_timer(&record.payment_timer)?;
        record.payment_timer.clear();
    }
    Ok(())
}
