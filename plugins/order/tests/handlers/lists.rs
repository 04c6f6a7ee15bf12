//! `ListOrders`.

use std::time::Duration;

use mortise_guest::testing::{Host, Request};
use mortise_guest::{Code, details};
use order::pb::{self, ListOrdersRequest, OrderStatus};

use crate::shop::{
    an_order, anonymous, by, cancel, item, list, pay, placed, refused, ship, shop, violated_fields,
};

fn of(customer: &str) -> pb::Order {
    pb::Order {
        customer_id: customer.to_owned(),
        ..an_order()
    }
}

/// Every page of a list, as names.
fn pages(host: &mut Host, caller: &Request, mut request: ListOrdersRequest) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let answer = list(host, caller.clone(), request.clone())
            .expect("listed")
            .message;
        pages.push(answer.orders.into_iter().map(|order| order.order_id).collect());
        if answer.next_page_token.is_empty() {
            return pages;
        }
        assert!(pages.len() < 1000, "the list does not end");
        request.page_token = answer.next_page_token;
    }
}

fn all(host: &mut Host, caller: &Request, request: ListOrdersRequest) -> Vec<String> {
    pages(host, caller, request).concat()
}

fn filter(customer: &str, status: OrderStatus) -> ListOrdersRequest {
    ListOrdersRequest {
        customer_id: customer.to_owned(),
        status: status.into(),
        ..ListOrdersRequest::default()
    }
}

const ANY: OrderStatus = OrderStatus::Unspecified;

#[test]
fn lists_are_newest_first_in_pages_of_the_size_asked() {
    let mut host = shop();
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(placed(&mut host, by("ann"), an_order()));
        host.advance(Duration::from_nanos(1));
    }
    ids.reverse();
    for size in [1, 2, 3, 6, 7, 8, 0] {
        let request = ListOrdersRequest {
            page_size: size,
            ..ListOrdersRequest::default()
        };
        let found = pages(&mut host, &by("ann"), request);
        assert_eq!(found.concat(), ids, "page size {size}");
        let whole = if size == 0 { 7 } else { size as usize };
        assert!(
            found[..found.len() - 1].iter().all(|page| page.len() == whole),
            "page size {size}"
        );
        assert!(found.iter().all(|page| !page.is_empty()), "page size {size}");
    }
}

#[test]
fn orders_of_one_instant_are_listed_by_descending_name_and_none_is_lost() {
    let mut host = shop();
    let mut ids: Vec<_> = (0..9)
        .map(|_| placed(&mut host, anonymous(), an_order()))
        .collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    let request = ListOrdersRequest {
        page_size: 2,
        ..ListOrdersRequest::default()
    };
    assert_eq!(all(&mut host, &anonymous(), request), ids);
}

#[test]
fn pages_have_a_default_and_a_greatest_size() {
    let mut host = shop();
    for _ in 0..120 {
        placed(&mut host, anonymous(), an_order());
    }
    for (asked, first) in [(0, 50), (100, 100), (101, 100), (i32::MAX, 100)] {
        let request = ListOrdersRequest {
            page_size: asked,
            ..ListOrdersRequest::default()
        };
        let found = pages(&mut host, &anonymous(), request);
        assert_eq!(found[0].len(), first, "page_size {asked}");
        assert_eq!(found.concat().len(), 120, "page_size {asked}");
    }
}

#[test]
fn filters_select_by_customer_and_status() {
    let mut host = shop();
    let mut place = |customer: &str| {
        host.advance(Duration::from_secs(1));
        placed(&mut host, by("ann"), of(customer))
    };
    let (a, b, c, d) = (place("c1"), place("c1"), place("c2"), place("c2"));
    pay(&mut host, by("ann"), &b, None).expect("confirmed");
    pay(&mut host, by("ann"), &c, None).expect("confirmed");
    ship(&mut host, by("ann"), &c, None).expect("paid");
    cancel(&mut host, by("ann"), &d, None).expect("confirmed");

    let mut found = |customer, status| all(&mut host, &by("ann"), filter(customer, status));
    assert_eq!(found("", ANY), [&*d, &c, &b, &a]);
    assert_eq!(found("c1", ANY), [&*b, &a]);
    assert_eq!(found("c2", ANY), [&*d, &c]);
    assert_eq!(found("", OrderStatus::Confirmed), [&*a]);
    assert_eq!(found("", OrderStatus::Paid), [&*b]);
    assert_eq!(found("c2", OrderStatus::Shipped), [&*c]);
    assert_eq!(found("c2", OrderStatus::Cancelled), [&*d]);
    assert!(found("c2", OrderStatus::Paid).is_empty());
    // Customers whose names begin alike stay apart.
    assert!(found("c", ANY).is_empty());
}

#[test]
fn an_identity_sees_its_own_orders_and_the_anonymous_ones() {
    let mut host = shop();
    let mut place = |caller: Request| {
        host.advance(Duration::from_secs(1));
        placed(&mut host, caller, an_order())
    };
    let (ann, bob, nobody) = (place(by("ann")), place(by("bob")), place(anonymous()));
    let principal = place(anonymous().principal("ann"));
    let last = place(anonymous());

    for size in [1, 10] {
        let request = ListOrdersRequest {
            page_size: size,
            ..filter("c1", ANY)
        };
        let mut found = |caller: Request| all(&mut host, &caller, request.clone());
        assert_eq!(found(by("ann")), [&*last, &nobody, &ann]);
        assert_eq!(found(by("bob")), [&*last, &nobody, &bob]);
        assert_eq!(found(anonymous()), [&*last, &nobody]);
        assert_eq!(found(anonymous().principal("ann")), [&*last, &principal, &nobody]);
    }
}

#[test]
fn changes_while_paging_do_not_disturb_later_pages() {
    let mut host = shop();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(placed(&mut host, anonymous(), an_order()));
        host.advance(Duration::from_secs(1));
    }
    let mut request = ListOrdersRequest {
        page_size: 2,
        ..ListOrdersRequest::default()
    };
    let first = list(&mut host, anonymous(), request.clone())
        .expect("first page")
        .message;
    placed(&mut host, anonymous(), an_order());
    pay(&mut host, anonymous(), &ids[0], None).expect("confirmed");
    cancel(&mut host, anonymous(), &ids[2], None).expect("confirmed");
    request.page_token = first.next_page_token;
    let rest = all(&mut host, &anonymous(), request);
    assert_eq!(rest, [ids[1].as_str(), &ids[0]]);
}

#[test]
fn a_page_of_large_orders_stays_below_a_stock_clients_message_limit() {
    use prost::Message;

    let mut host = shop();
    let large = pb::Order {
        items: vec![item(&"s".repeat(64), 1, 1 << 40); 1000],
        ..an_order()
    };
    for _ in 0..100 {
        placed(&mut host, anonymous(), large.clone());
    }
    let request = ListOrdersRequest {
        page_size: 100,
        ..ListOrdersRequest::default()
    };
    let first = list(&mut host, anonymous(), request.clone())
        .expect("first page")
        .message;
    assert!(first.encoded_len() < 4 * 1024 * 1024);
    assert!(first.orders.len() > 10);
    assert_eq!(all(&mut host, &anonymous(), request).len(), 100);
}

/// The token that leads from a first page by `caller` to the second.
fn token(host: &mut Host, caller: Request) -> String {
    placed(host, caller.clone(), an_order());
    placed(host, caller.clone(), an_order());
    let request = ListOrdersRequest {
        page_size: 1,
        ..filter("c1", ANY)
    };
    list(host, caller, request)
        .expect("first page")
        .message
        .next_page_token
}

#[track_caller]
fn assert_token_refused(host: &mut Host, caller: Request, request: ListOrdersRequest, reason: &str) {
    let failure = refused(list(host, caller, request), Code::InvalidArgument);
    let details: details::BadRequest = failure.status.detail().expect("BadRequest");
    let [violation] = details.field_violations.as_slice() else {
        panic!("one violation: {failure}")
    };
    assert_eq!(violation.field, "page_token");
    assert!(
        violation.description.contains(reason),
        "{}",
        violation.description
    );
}

#[test]
fn a_forged_token_is_told() {
    let mut host = shop();
    let token = token(&mut host, by("ann"));
    let damaged = format!("{}0", &token[..token.len() - 1]);
    let damaged = if damaged == token {
        format!("{}1", &token[..token.len() - 1])
    } else {
        damaged
    };
    for page_token in [
        "2".to_owned(),
        damaged,
        token.to_uppercase() + "00",
        "0".repeat(10_000),
    ] {
        let request = ListOrdersRequest {
            page_token,
            ..filter("c1", ANY)
        };
        assert_token_refused(&mut host, by("ann"), request, "is not a token of this service");
    }
}

#[test]
fn a_token_of_another_query_or_identity_is_told() {
    let mut host = shop();
    let page_token = token(&mut host, by("ann"));
    let with = |request| ListOrdersRequest {
        page_token: page_token.clone(),
        ..request
    };
    for (caller, request) in [
        (by("ann"), with(filter("c2", ANY))),
        (by("ann"), with(filter("", ANY))),
        (by("ann"), with(filter("c1", OrderStatus::Paid))),
        (by("bob"), with(filter("c1", ANY))),
        (anonymous(), with(filter("c1", ANY))),
        (anonymous().principal("ann"), with(filter("c1", ANY))),
    ] {
        assert_token_refused(&mut host, caller, request, "belongs to another query");
    }
    list(&mut host, by("ann"), with(filter("c1", ANY))).expect("its own query");
}

#[test]
fn a_stale_token_is_told() {
    let mut host = shop();
    let page_token = token(&mut host, by("ann"));
    let request = ListOrdersRequest {
        page_token,
        ..filter("c1", ANY)
    };
    host.advance(Duration::from_secs(3 * 24 * 60 * 60));
    list(&mut host, by("ann"), request.clone()).expect("just good enough");
    host.advance(Duration::from_nanos(1));
    assert_token_refused(&mut host, by("ann"), request, "is stale");
}

#[test]
fn every_violation_is_told_at_once() {
    let mut host = shop();
    let request = ListOrdersRequest {
        page_size: -1,
        page_token: "2".to_owned(),
        customer_id: "x".repeat(129),
        status: 99,
    };
    let failure = refused(list(&mut host, anonymous(), request), Code::InvalidArgument);
    assert_eq!(
        violated_fields(&failure),
        ["page_size", "customer_id", "status", "page_token"]
    );
}
