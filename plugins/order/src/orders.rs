//! What is stored: orders by name, and an index that lists are read from.
//!
//! - `orders`: `order_id` to [`Record`].
//! - its index `listed`: ([`Identity`], `customer_id` or empty, status, `created_at`). Each order is in it twice,
//!   with its customer and without, so every filter of a list is a range of entries that all match. No list reads an
//!   entry of an order that it may not show.

use mortise_guest::store::{Index, Indexed};
use mortise_guest::{Call, Code, ReadCall, Scan, Status};

use crate::domain::page::Position;
use crate::domain::{id, place};
use crate::identity::Identity;
use crate::pb::{Order, OrderStatus};
use crate::refusals;

const ORDERS: Indexed<Record> = Indexed::new("orders", &[LISTED]);

const LISTED: Index<Record> = Index::new("listed", |record, keys| {
    let order = &record.order;
    for customer in ["", &order.customer_id] {
        keys.add((&record.owner, customer, order.status, order.created_at));
    }
});

/// Names tried for an order before giving up. With a hundred million orders stored, a made-up name is taken
/// once in three million times; eight in a row mean that the random source is broken.
const NAME_ATTEMPTS: u32 = 8;

/// An order as it is stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// The order as its owner sees it.
    #[prost(message, required, tag = "1")]
    pub order: Order,
    /// [`Identity`] of the owner.
    #[prost(string, tag = "2")]
    pub owner: String,
    /// The timer that cancels the order unless it is paid in time; empty if there is none.
    #[prost(string, tag = "3")]
    pub payment_timer: String,
}

/// The order called `id`, whosever it is.
pub fn get(call: &ReadCall, id: &str) -> Result<Record, Status> {
    let record = call.indexed(&ORDERS).get(id)?;
    record.ok_or_else(|| refusals::not_found(id))
}

/// The order called `id`, provided that `caller` may access it.
pub fn find(call: &ReadCall, caller: &Identity, id: &str) -> Result<Record, Status> {
    place::id("id", id).map_err(|violations| refusals::invalid("Invalid request", violations))?;
    let record = get(call, id)?;
    if !caller.may_access(&Identity::stored(record.owner.clone())) {
        return Err(refusals::denied());
    }
    Ok(record)
}

/// The orders at `positions`, which an index gave.
pub fn get_all(call: &ReadCall, positions: &[Position]) -> Result<Vec<Order>, Status> {
    let ids = positions.iter().map(|position| position.order_id.as_str());
    let records = call.indexed(&ORDERS).get_many(ids)?;
    records
        .into_iter()
        .map(|record| {
            record
                .map(|record| record.order)
                .ok_or_else(|| Status::data_loss("An order is missing"))
        })
        .collect()
}

/// Stores a new order of `owner` and gives it a name if it has none.
pub fn insert(call: &Call, owner: &Identity, order: Order) -> Result<Record, Status> {
    let mut record = Record {
        order,
        owner: owner.as_str().to_owned(),
        payment_timer: String::new(),
    };
    if record.order.order_id.is_empty() {
        insert_under_new_name(call, &mut record)?;
    } else if !insert_record(call, &record)? {
        return Err(refusals::taken(&record.order.order_id));
    }
    Ok(record)
}

fn insert_under_new_name(call: &Call, record: &mut Record) -> Result<(), Status> {
    for _ in 0..NAME_ATTEMPTS {
        record.order.order_id = id::from_random(call.random_bytes());
        if insert_record(call, record)? {
            return Ok(());
        }
    }
    Err(Status::unavailable("No free order name was found; try again"))
}

/// False if the name is taken.
fn insert_record(call: &Call, record: &Record) -> Result<bool, Status> {
    match call.indexed(&ORDERS).insert(&record.order.order_id, record) {
        Ok(()) => Ok(true),
        Err(status) if status.code() == Code::AlreadyExists => Ok(false),
        Err(status) => Err(status),
    }
}

/// Stores a changed order.
pub fn update(call: &Call, record: &Record) -> Result<(), Status> {
    call.indexed(&ORDERS).put(&record.order.order_id, record)
}

/// The newest `limit` orders of one owner, one status and, unless empty, one customer, that come after
/// `after` in a list.
pub fn scan(
    call: &ReadCall,
    (owner, customer, status): (&Identity, &str, OrderStatus),
    after: Option<&Position>,
    limit: usize,
) -> Result<Vec<Position>, Status> {
    let (owner, status) = (owner.as_str(), i32::from(status));
    let start = (owner, customer, status, i64::MIN, "");
    let end = match after {
        Some(position) => (
            owner,
            customer,
            status,
            position.created_at,
            position.order_id.as_str(),
        ),
        None => (owner, customer, status + 1, i64::MIN, ""),
    };
    let mut positions = Vec::new();
    let mut cursor = None;
    while positions.len() < limit {
        let missing = u32::try_from(limit - positions.len()).unwrap_or(u32::MAX);
        let scan = Scan::range(start..end).descending().limit(missing).resume(cursor);
        let page = call.indexed(&ORDERS).keys_by(&LISTED, scan)?;
        for entry in page.entries {
            let (_, _, _, created_at, order_id): (String, String, i32, i64, String) =
                entry.found_by.decode()?;
            positions.push(Position { created_at, order_id });
        }
        // The host may cut a page short.
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(positions)
}
