//! Counts what becomes of orders, from the events of the order plugin: an example of a plugin that another
//! one's events drive. The operator connects the two, with a `[subscriptions.NAME]`.

use mortise_guest::{Call, ReadCall, Scan, Status};

/// The messages and the service of `proto/tally/v1/tally.proto`, and what it imports.
pub mod pb {
    mortise_guest::include_proto!();
}

pub use pb::order::v1::Order;
pub use pb::tally::v1::{GetTallyRequest, GetTallyResponse, OnOrderResponse, TallyMethod, TopicTally};

/// By customer and topic.
const EVENTS: &str = "events";

/// The tally service.
#[derive(Debug)]
pub struct Tallies;

#[mortise_guest::plugin]
impl pb::tally::v1::Tally for Tallies {
    fn get_tally(call: &mut ReadCall, request: GetTallyRequest) -> Result<GetTallyResponse, Status> {
        let mut response = GetTallyResponse::default();
        let page = call
            .table::<u64>(EVENTS)
            .scan(Scan::prefix(request.customer_id.as_str()))?;
        for entry in page.entries {
            let (_, topic): (String, String) = entry.key.decode()?;
            response.topics.push(TopicTally {
                topic,
                events: entry.value,
            });
        }
        Ok(response)
    }

    fn on_order(call: &mut Call, order: Order) -> Result<OnOrderResponse, Status> {
        let event = call
            .event()
            .ok_or_else(|| Status::internal("this is for events"))?;
        let events = call.table::<u64>(EVENTS);
        let key = (order.customer_id.as_str(), event.topic.as_str());
        let count = events.get(key)?.unwrap_or(0) + 1;
        events.put(key, &count)?;
        Ok(OnOrderResponse {})
    }
}
