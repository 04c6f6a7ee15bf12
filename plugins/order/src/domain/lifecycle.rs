//! Which change an order's status allows.

use crate::pb::{Order, OrderStatus};

/// Every status a stored order can have.
pub const STATUSES: [OrderStatus; 4] = [
    OrderStatus::Confirmed,
    OrderStatus::Paid,
    OrderStatus::Shipped,
    OrderStatus::Cancelled,
];

/// What can be done to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The customer paid.
    Pay,
    /// The goods left.
    Ship,
    /// The order is off.
    Cancel,
    /// The time to pay is over.
    Lapse,
}

impl Action {
    /// The status after the action.
    pub fn outcome(self) -> OrderStatus {
        match self {
            Self::Pay => OrderStatus::Paid,
            Self::Ship => OrderStatus::Shipped,
            Self::Cancel | Self::Lapse => OrderStatus::Cancelled,
        }
    }

    /// The statuses in which the action is possible.
    pub fn possible_in(self) -> &'static [OrderStatus] {
        match self {
            Self::Pay | Self::Lapse => &[OrderStatus::Confirmed],
            Self::Ship => &[OrderStatus::Paid],
            Self::Cancel => &[OrderStatus::Confirmed, OrderStatus::Paid],
        }
    }

    /// Topic of the event that tells of the action.
    pub fn topic(self) -> &'static str {
        match self {
            Self::Pay => "order.paid",
            Self::Ship => "order.shipped",
            Self::Cancel | Self::Lapse => "order.cancelled",
        }
    }
}

/// Why an action was refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller decided on a version of the order that is not the current one.
    Stale {
        /// The order's version now.
        current: i64,
    },
    /// The order's status does not allow the action.
    Impossible {
        /// The order's status now.
        status: OrderStatus,
    },
}

/// Does `action` to `order`, provided that it still is at `version`, when one is given.
///
/// The version is looked at first: a caller with an old view should look again before it is told what the
/// new status forbids.
pub fn apply(order: &mut Order, action: Action, version: Option<i64>) -> Result<(), Refusal> {
    if version.is_some_and(|version| version != order.version) {
        return Err(Refusal::Stale {
            current: order.version,
        });
    }
    let status = order.status();
    if !action.possible_in().contains(&status) {
        return Err(Refusal::Impossible { status });
    }
    order.set_status(action.outcome());
    order.version += 1;
    Ok(())
}

/// The status as people write it, without the enum's prefix.
pub fn name(status: OrderStatus) -> &'static str {
    let full = status.as_str_name();
    full.strip_prefix("ORDER_STATUS_").unwrap_or(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(status: OrderStatus) -> Order {
        Order {
            version: 7,
            status: status.into(),
            ..Order::default()
        }
    }

    #[test]
    fn every_pair_of_status_and_action() {
        use Action::{Cancel, Lapse, Pay, Ship};
        use OrderStatus::{Cancelled, Confirmed, Paid, Shipped};
        let possible = [
            (Confirmed, Pay),
            (Paid, Ship),
            (Confirmed, Cancel),
            (Paid, Cancel),
            (Confirmed, Lapse),
        ];
        for status in [Confirmed, Paid, Shipped, Cancelled] {
            for action in [Pay, Ship, Cancel, Lapse] {
                let mut order = order(status);
                let result = apply(&mut order, action, None);
                if possible.contains(&(status, action)) {
                    assert_eq!(result, Ok(()), "{action:?} in {status:?}");
                    assert_eq!((order.status(), order.version), (action.outcome(), 8));
                } else {
                    assert_eq!(
                        result,
                        Err(Refusal::Impossible { status }),
                        "{action:?} in {status:?}"
                    );
                    assert_eq!((order.status(), order.version), (status, 7));
                }
            }
        }
    }

    #[test]
    fn a_stale_version_is_told_before_an_impossible_status() {
        let mut order = order(OrderStatus::Shipped);
        assert_eq!(
            apply(&mut order, Action::Cancel, Some(6)),
            Err(Refusal::Stale { current: 7 })
        );
        let impossible = Err(Refusal::Impossible {
            status: OrderStatus::Shipped,
        });
        assert_eq!(apply(&mut order, Action::Cancel, Some(7)), impossible);
    }

    #[test]
    fn names_are_short() {
        assert_eq!(STATUSES.map(name), ["CONFIRMED", "PAID", "SHIPPED", "CANCELLED"]);
    }
}
