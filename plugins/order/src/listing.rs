//! `ListOrders`: one page of the orders that a caller may see.

use mortise_guest::{ReadCall, Status};
use prost::Message;

use crate::domain::lifecycle::STATUSES;
use crate::domain::page::{self, Position, Query};
use crate::domain::place::{self, MAX_CUSTOMER_BYTES};
use crate::domain::violations::Violations;
use crate::identity::Identity;
use crate::pb::{ListOrdersRequest, ListOrdersResponse, OrderStatus};
use crate::session::Session;
use crate::{orders, refusals};

/// Encoded orders on a page, unless one alone is larger. Stock clients take answers of 4 MiB.
const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;
/// Orders fetched at once, which bounds what a page that is full already has fetched in vain.
const FETCH: usize = 10;

/// The page that `request` asks for.
pub fn list(
    call: &ReadCall,
    session: &Session,
    request: ListOrdersRequest,
) -> Result<ListOrdersResponse, Status> {
    let Page { query, size, after } =
        parse(session, request).map_err(|violations| refusals::invalid("Invalid request", violations))?;
    // One more than the page holds tells whether there is another.
    let positions = positions(call, &session.identity, &query, after.as_ref(), size + 1)?;

    let mut orders = Vec::new();
    let mut bytes = 0;
    'page: for chunk in positions[..size.min(positions.len())].chunks(FETCH) {
        for order in orders::get_all(call, chunk)? {
            bytes += order.encoded_len();
            if bytes > MAX_PAGE_BYTES && !orders.is_empty() {
                break 'page;
            }
            orders.push(order);
        }
    }
    let next_page_token = match positions.get(..orders.len()) {
        Some([.., last]) if orders.len() < positions.len() => page::token(&query, last, session.now),
        _ => String::new(),
    };
    Ok(ListOrdersResponse {
        orders,
        next_page_token,
    })
}

struct Page {
    query: Query,
    size: usize,
    after: Option<Position>,
}

/// The page that the request asks for, or everything that is wrong with it.
fn parse(session: &Session, request: ListOrdersRequest) -> Result<Page, Violations> {
    let mut violations = Violations::default();
    let size = page::size(request.page_size);
    if size.is_none() {
        violations.add(|| "page_size".to_owned(), "must not be negative");
    }
    if !request.customer_id.is_empty() {
        place::text(
            &mut violations,
            || "customer_id".to_owned(),
            &request.customer_id,
            MAX_CUSTOMER_BYTES,
        );
    }
    let status = OrderStatus::try_from(request.status);
    if status.is_err() {
        violations.add(|| "status".to_owned(), "must be a known status");
    }
    let query = Query {
        owner: session.identity.as_str().to_owned(),
        customer: request.customer_id,
        status: status.unwrap_or_default(),
    };
    let mut after = None;
    if !request.page_token.is_empty() {
        match page::position(&request.page_token, &query, session.now) {
            Ok(position) => after = Some(position),
            Err(error) => violations.add(|| "page_token".to_owned(), error.description()),
        }
    }
    violations.or(Page {
        query,
        size: size.unwrap_or_default(),
        after,
    })
}

/// The positions of the first `limit` orders after `after`: the caller's own and nobody's, merged.
///
/// Of each range that matches, the first `limit` rows are enough, however the ranges interleave.
fn positions(
    call: &ReadCall,
    caller: &Identity,
    query: &Query,
    after: Option<&Position>,
    limit: usize,
) -> Result<Vec<Position>, Status> {
    let mut owners = vec![Identity::ANONYMOUS];
    if *caller != Identity::ANONYMOUS {
        owners.push(caller.clone());
    }
    let statuses = match query.status {
        OrderStatus::Unspecified => &STATUSES[..],
        _ => std::slice::from_ref(&query.status),
    };
    let mut positions = Vec::new();
    for owner in &owners {
        for status in statuses {
            positions.extend(orders::scan(
                call,
                (owner, &query.customer, *status),
                after,
                limit,
            )?);
        }
    }
    positions.sort_unstable_by(|a, b| b.cmp(a));
    positions.truncate(limit);
    Ok(positions)
}
