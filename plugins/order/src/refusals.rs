//! How broken rules reach the client: one function per refusal, with the details that its status calls for.

use mortise_guest::Status;
use mortise_guest::details::{
    BadRequest, ErrorInfo, PreconditionFailure, PreconditionViolation, ResourceInfo,
};

use crate::domain::lifecycle::{self, Action, Refusal};
use crate::domain::violations::Violations;

/// The request breaks rules, whatever the state of the shop. `what` is the first sentence of the message.
pub fn invalid(what: &str, violations: Violations) -> Status {
    let message = format!("{what}. {}", violations.summary());
    let mut details = BadRequest::default();
    for violation in violations.into_list() {
        details.violation(violation.field, violation.description);
    }
    Status::invalid_argument(message).with_detail(details)
}

/// No order has this name.
pub fn not_found(id: &str) -> Status {
    Status::not_found(format!("Order {id} not found")).with_detail(order(id))
}

/// An order has this name already.
pub fn taken(id: &str) -> Status {
    Status::already_exists(format!("Order {id} already exists")).with_detail(order(id))
}

/// The order is somebody else's.
pub fn denied() -> Status {
    Status::permission_denied("Access denied")
}

/// The order is not in a state for the action.
pub fn impossible(id: &str, action: Action, version: Option<i64>, refusal: Refusal) -> Status {
    match refusal {
        Refusal::Stale { current } => {
            let seen = version.unwrap_or_default();
            let message = format!("Order {id} is at version {current}, not {seen}; read it again");
            Status::aborted(message).with_detail(ErrorInfo {
                reason: "STALE_VERSION".to_owned(),
                domain: "order.v1".to_owned(),
                metadata: [("current_version".to_owned(), current.to_string())].into(),
            })
        }
        Refusal::Impossible { status } => {
            let names: Vec<_> = action
                .possible_in()
                .iter()
                .copied()
                .map(lifecycle::name)
                .collect();
            let description = format!(
                "Order {id} is {}; to become {} it must be {}",
                lifecycle::name(status),
                lifecycle::name(action.outcome()),
                names.join(" or "),
            );
            Status::failed_precondition(&description).with_detail(PreconditionFailure {
                violations: vec![PreconditionViolation {
                    r#type: "ORDER_STATUS".to_owned(),
                    subject: id.to_owned(),
                    description,
                }],
            })
        }
    }
}

fn order(id: &str) -> ResourceInfo {
    ResourceInfo {
        resource_type: "order.v1.Order".to_owned(),
        resource_name: id.to_owned(),
        ..ResourceInfo::default()
    }
}
