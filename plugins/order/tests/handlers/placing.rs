//! `CreateOrder` and `GetOrder`.

use std::time::{Duration, UNIX_EPOCH};

use mortise_guest::testing::Host;
use mortise_guest::{Code, Status, details};
use order::{Orders, pb};
use prost::Message;

use crate::shop::{
    an_order, anonymous, by, create, events, get, item, placed, refused, shop, violated_fields,
};

#[test]
fn an_order_with_only_customer_and_items_is_confirmed_and_stored() {
    let mut host = shop().at(UNIX_EPOCH + Duration::from_nanos(1_800_000_000_000_000_007));
    let confirmation = create(&mut host, anonymous(), an_order()).expect("valid").message;
    let digits = confirmation.order_id.strip_prefix("ORD-").expect("the prefix");
    assert_eq!(digits.len(), 12);
    assert!(
        digits
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F')),
        "{digits}"
    );
    assert_eq!(confirmation.status, "CONFIRMED");
    assert_eq!(confirmation.total, 700);
    assert_eq!(confirmation.confirmed_at, 1_800_000_000_000_000_007);

    let order = get(&mut host, anonymous(), &confirmation.order_id)
        .expect("stored")
        .message;
    let expected = pb::Order {
        order_id: confirmation.order_id.clone(),
        currency: "USD".to_owned(),
        total: 700,
        status: pb::OrderStatus::Confirmed.into(),
        created_at: confirmation.confirmed_at,
        version: 1,
        ..an_order()
    };
    assert_eq!(order, expected);
    assert_eq!(events(&host), [("order.created", confirmation.order_id.as_str())]);
    assert_eq!(
        host.events()[0].decode::<pb::Order>().expect("an order"),
        expected
    );
}

#[test]
fn the_operators_currency_applies_where_the_order_names_none() {
    let mut host = shop().config("currency", "CHF");
    let id = placed(&mut host, anonymous(), an_order());
    assert_eq!(
        get(&mut host, anonymous(), &id).expect("stored").message.currency,
        "CHF"
    );
    let id = placed(
        &mut host,
        anonymous(),
        pb::Order {
            currency: "JPY".to_owned(),
            ..an_order()
        },
    );
    assert_eq!(
        get(&mut host, anonymous(), &id).expect("stored").message.currency,
        "JPY"
    );
}

#[test]
fn an_operators_currency_that_is_none_is_the_operators_trouble() {
    let mut host = shop().config("currency", "francs");
    let failure = refused(create(&mut host, anonymous(), an_order()), Code::Internal);
    assert!(!failure.status.message().contains("francs"), "{failure}");
}

#[test]
fn a_name_that_is_taken_already_exists_and_leaves_the_first_order() {
    let mut host = shop();
    let named = pb::Order {
        order_id: "web-1".to_owned(),
        ..an_order()
    };
    assert_eq!(placed(&mut host, by("ann"), named.clone()), "web-1");
    let again = pb::Order {
        customer_id: "c2".to_owned(),
        ..named
    };
    let failure = refused(create(&mut host, by("bob"), again), Code::AlreadyExists);
    assert_eq!(failure.status.message(), "Order web-1 already exists");
    let resource: details::ResourceInfo = failure.status.detail().expect("ResourceInfo");
    assert_eq!(
        (resource.resource_type.as_str(), resource.resource_name.as_str()),
        ("order.v1.Order", "web-1")
    );
    assert_eq!(
        get(&mut host, by("ann"), "web-1")
            .expect("the first")
            .message
            .customer_id,
        "c1"
    );
    assert_eq!(events(&host), [("order.created", "web-1")]);
}

#[test]
fn a_made_up_name_that_is_taken_is_made_again() {
    let first = placed(&mut shop().seed(7), anonymous(), an_order());
    let mut host = shop().seed(7);
    placed(
        &mut host,
        anonymous(),
        pb::Order {
            order_id: first.clone(),
            ..an_order()
        },
    );
    let second = placed(&mut host, anonymous(), an_order());
    assert_ne!(second, first);
    assert!(second.starts_with("ORD-"));
}

#[test]
fn every_violation_is_told_at_once_and_nothing_is_stored() {
    let mut host = shop();
    let wrong = pb::Order {
        items: vec![item("", 0, -1), item("ok", 1, 1)],
        currency: "euro".to_owned(),
        ..pb::Order::default()
    };
    let failure = refused(create(&mut host, anonymous(), wrong), Code::InvalidArgument);
    assert_eq!(
        failure.status.message(),
        "Invalid order data. customer_id: must not be empty; and 4 more violations"
    );
    assert_eq!(
        violated_fields(&failure),
        [
            "customer_id",
            "currency",
            "items[0].sku",
            "items[0].quantity",
            "items[0].price"
        ]
    );
    assert_eq!(host.stored_len(), 0);
    assert_eq!(events(&host), []);
}

#[test]
fn a_list_of_violations_is_cut_where_a_stock_client_would_lose_the_answer() {
    let mut host = shop();
    let wrong = pb::Order {
        items: vec![item("", -1, -1); 20_000],
        ..pb::Order::default()
    };
    let failure = refused(create(&mut host, anonymous(), wrong), Code::InvalidArgument);
    let message = failure.status.message();
    assert!(
        message.starts_with("Invalid order data. customer_id: "),
        "{message}"
    );
    assert!(
        message.contains("and 60001 more violations, of which the first "),
        "{message}"
    );

    let details: details::BadRequest = failure.status.detail().expect("BadRequest");
    let (notice, listed) = details.field_violations.split_last().expect("violations");
    assert_eq!(
        notice.description,
        format!("{} more violations are not listed", 60_002 - listed.len())
    );

    // As on the wire: the details within a google.rpc.Status, in base64, and the message, percent-encoded.
    let any = "type.googleapis.com/google.rpc.BadRequest".len() + details.encoded_len() + 10;
    let details_bin = (message.len() + any + 10).div_ceil(3) * 4;
    let trailers = details_bin + message.len() + 3 * (32 + 24);
    assert!(
        trailers < 7 * 1024,
        "{trailers} bytes leave too little room for other metadata"
    );
}

#[test]
fn bytes_that_do_not_parse_are_internal() {
    let mut host = shop();
    let failure = host
        .unary::<Orders>(
            anonymous(),
            "/order.v1.OrderService/CreateOrder",
            &[0x0a, 0xff, 0xff, 0xff],
        )
        .expect_err("no order");
    assert_eq!(failure.status.code(), Code::Internal);
}

#[test]
fn the_encoded_path_gives_the_same_confirmation() {
    let mut host = shop();
    let request = an_order().encode_to_vec();
    let answer = host.unary::<Orders>(anonymous(), "/order.v1.OrderService/CreateOrder", &request);
    let confirmation = pb::OrderResponse::decode(answer.expect("valid").message.as_slice()).expect("parses");
    assert_eq!(
        (confirmation.status.as_str(), confirmation.total),
        ("CONFIRMED", 700)
    );
}

#[test]
fn an_unknown_order_is_not_found() {
    let mut host = shop();
    let failure = refused(get(&mut host, anonymous(), "ORD-NONE"), Code::NotFound);
    assert_eq!(failure.status.message(), "Order ORD-NONE not found");
    let resource: details::ResourceInfo = failure.status.detail().expect("ResourceInfo");
    assert_eq!(resource.resource_name, "ORD-NONE");
}

#[test]
fn a_name_that_no_order_can_have_is_invalid() {
    let mut host = shop();
    for id in ["", "a\nb", &"x".repeat(65)] {
        let failure = refused(get(&mut host, anonymous(), id), Code::InvalidArgument);
        assert_eq!(violated_fields(&failure), ["id"]);
        assert!(
            failure.status.message().starts_with("Invalid request. id: "),
            "{failure}"
        );
    }
}

#[test]
fn an_order_belongs_to_the_identity_that_placed_it() {
    let mut host = shop();
    let id = placed(&mut host, by("ann"), an_order());
    get(&mut host, by("ann"), &id).expect("the owner's");
    for stranger in [
        by("bob"),
        anonymous(),
        anonymous().principal("ann"),
        by("ann").principal("bob"),
    ] {
        let failure = refused(get(&mut host, stranger, &id), Code::PermissionDenied);
        assert_eq!(failure.status.message(), "Access denied");
    }
}

#[test]
fn a_principal_wins_over_the_user_id() {
    let mut host = shop();
    let id = placed(&mut host, by("bob").principal("ann"), an_order());
    get(&mut host, anonymous().principal("ann"), &id).expect("the principal's");
    refused(get(&mut host, by("bob"), &id), Code::PermissionDenied);
}

#[test]
fn an_anonymous_order_is_open_to_all() {
    let mut host = shop();
    let id = placed(&mut host, anonymous(), an_order());
    for caller in [by("ann"), anonymous(), anonymous().principal("bob")] {
        get(&mut host, caller, &id).expect("open to all");
    }
}

#[test]
fn a_user_id_names_nobody_unless_the_operator_trusts_it() {
    let mut host = Host::new();
    let id = placed(&mut host, by("ann"), an_order());
    get(&mut host, by("bob"), &id).expect("anonymous");
}

#[test]
fn a_store_that_fails_fails_the_call() {
    let mut host = shop();
    host.fail_store(Some(Status::unavailable("The store is not available")));
    refused(create(&mut host, anonymous(), an_order()), Code::Unavailable);
    host.fail_store(None);
    assert_eq!(host.stored_len(), 0);
}
