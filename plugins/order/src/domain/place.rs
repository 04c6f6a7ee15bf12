//! From what a customer sends to an order that can be stored.

use super::money;
use super::violations::Violations;
use crate::pb::{Order, OrderItem, OrderStatus};

/// Bytes of UTF-8 in an order's name.
pub const MAX_ID_BYTES: usize = 64;
/// Bytes of UTF-8 in a customer's name.
pub const MAX_CUSTOMER_BYTES: usize = 128;
const MAX_SKU_BYTES: usize = 64;
/// With the bounds on text this keeps an order, encoded, under 100 KiB.
const MAX_ITEMS: usize = 1000;

/// The new order that `request` asks for, or everything that is wrong with it.
///
/// Output-only fields of the request are ignored. `order_id` stays empty if the customer gave none.
/// `created_at` is in nanoseconds since the Unix epoch.
pub fn place(request: Order, default_currency: &str, created_at: i64) -> Result<Order, Violations> {
    let mut violations = Violations::default();
    if !request.order_id.is_empty() {
        text(
            &mut violations,
            || "order_id".to_owned(),
            &request.order_id,
            MAX_ID_BYTES,
        );
    }
    text(
        &mut violations,
        || "customer_id".to_owned(),
        &request.customer_id,
        MAX_CUSTOMER_BYTES,
    );

    let currency = if request.currency.is_empty() {
        default_currency.to_owned()
    } else {
        request.currency
    };
    if !money::is_currency(&currency) {
        violations.add(
            || "currency".to_owned(),
            "must be an upper-case ISO 4217 code, such as EUR",
        );
    }
    let total = items(&mut violations, &request.items);

    violations.or(Order {
        order_id: request.order_id,
        customer_id: request.customer_id,
        items: request.items,
        currency,
        total,
        status: OrderStatus::Confirmed.into(),
        created_at,
        version: 1,
    })
}

/// Checks the name of an order in a request for that order.
pub fn id(field: &str, id: &str) -> Result<(), Violations> {
    let mut violations = Violations::default();
    text(&mut violations, || field.to_owned(), id, MAX_ID_BYTES);
    violations.or(())
}

/// Checks text that names something. Control characters would let a name forge lines where it is shown.
pub fn text(violations: &mut Violations, field: impl Fn() -> String, value: &str, max_bytes: usize) {
    if value.trim().is_empty() {
        violations.add(&field, "must not be empty");
    }
    if value.len() > max_bytes {
        violations.add(&field, &format!("must be at most {max_bytes} bytes"));
    }
    if value.chars().any(char::is_control) {
        violations.add(&field, "must not contain control characters");
    }
}

/// Checks the lines of an order; the total is meaningless if there was anything to add.
fn items(violations: &mut Violations, items: &[OrderItem]) -> i64 {
    if items.is_empty() {
        violations.add(|| "items".to_owned(), "must have at least one entry");
        return 0;
    }
    if items.len() > MAX_ITEMS {
        violations.add(
            || "items".to_owned(),
            &format!("must have at most {MAX_ITEMS} entries"),
        );
    }
    let mut amounts_are_sound = true;
    for (index, item) in items.iter().enumerate() {
        text(
            violations,
            || format!("items[{index}].sku"),
            &item.sku,
            MAX_SKU_BYTES,
        );
        if item.quantity < 1 {
            violations.add(|| format!("items[{index}].quantity"), "must be at least 1");
            amounts_are_sound = false;
        }
        if item.price < 0 {
            violations.add(|| format!("items[{index}].price"), "must not be negative");
            amounts_are_sound = false;
        }
    }
    if !amounts_are_sound {
        return 0; // There is no total to judge.
    }
    let total = money::total(items);
    match total {
        None => violations.add(|| "total".to_owned(), "must fit in 64 bits"),
        Some(0) => violations.add(|| "total".to_owned(), "must be greater than 0"),
        Some(_) => {}
    }
    total.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(sku: &str, quantity: i32, price: i64) -> OrderItem {
        OrderItem {
            sku: sku.to_owned(),
            quantity,
            price,
        }
    }

    fn request() -> Order {
        Order {
            customer_id: "c1".to_owned(),
            items: vec![item("tea", 2, 350)],
            ..Order::default()
        }
    }

    fn violations(request: Order) -> Vec<(String, String)> {
        let list = place(request, "EUR", 1).expect_err("violations").into_list();
        list.into_iter()
            .map(|violation| (violation.field, violation.description))
            .collect()
    }

    fn fields(request: Order) -> Vec<String> {
        violations(request).into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn customer_and_items_suffice() {
        let order = place(request(), "EUR", 42).expect("valid");
        assert_eq!(order.order_id, "");
        assert_eq!(order.currency, "EUR");
        assert_eq!((order.total, order.created_at, order.version), (700, 42, 1));
        assert_eq!(order.status(), OrderStatus::Confirmed);
    }

    #[test]
    fn output_only_fields_of_the_request_are_ignored() {
        let meddled = Order {
            total: 1,
            status: OrderStatus::Shipped.into(),
            created_at: 5,
            version: 9,
            ..request()
        };
        assert_eq!(
            place(meddled, "EUR", 42).expect("valid"),
            place(request(), "EUR", 42).expect("valid")
        );
    }

    #[test]
    fn a_given_currency_wins_over_the_default() {
        let order = place(
            Order {
                currency: "JPY".to_owned(),
                ..request()
            },
            "EUR",
            1,
        )
        .expect("valid");
        assert_eq!(order.currency, "JPY");
    }

    #[test]
    fn every_violation_is_told_at_once() {
        let wrong = Order {
            order_id: "x".repeat(65),
            customer_id: " ".to_owned(),
            items: vec![
                item("", 0, -1),
                item("ok", 1, 1),
                item("s".repeat(65).as_str(), 1, 1),
            ],
            currency: "euro".to_owned(),
            ..Order::default()
        };
        assert_eq!(
            fields(wrong),
            [
                "order_id",
                "customer_id",
                "currency",
                "items[0].sku",
                "items[0].quantity",
                "items[0].price",
                "items[2].sku"
            ]
        );
    }

    #[test]
    fn an_empty_request_names_customer_and_items() {
        assert_eq!(fields(Order::default()), ["customer_id", "items"]);
    }

    #[test]
    fn text_is_bounded_in_bytes_and_free_of_control_characters() {
        let limit = Order {
            order_id: "é".repeat(32),
            customer_id: "c".repeat(128),
            items: vec![item(&"s".repeat(64), 1, 1)],
            ..Order::default()
        };
        place(limit, "EUR", 1).expect("at the limit");
        let over = Order {
            order_id: format!("{}x", "é".repeat(32)),
            ..request()
        };
        assert_eq!(
            violations(over),
            [("order_id".to_owned(), "must be at most 64 bytes".to_owned())]
        );
        let control = Order {
            customer_id: "a\nb".to_owned(),
            ..request()
        };
        assert_eq!(fields(control), ["customer_id"]);
    }

    #[test]
    fn totals_must_be_positive_and_fit() {
        let free = Order {
            items: vec![item("a", 1, 0), item("b", 3, 0)],
            ..request()
        };
        assert_eq!(
            violations(free),
            [("total".to_owned(), "must be greater than 0".to_owned())]
        );
        let gift = Order {
            items: vec![item("a", 1, 0), item("b", 3, 1)],
            ..request()
        };
        assert_eq!(place(gift, "EUR", 1).expect("a gift may be free").total, 3);
        let huge = Order {
            items: vec![item("a", 2, i64::MAX)],
            ..request()
        };
        assert_eq!(
            violations(huge),
            [("total".to_owned(), "must fit in 64 bits".to_owned())]
        );
    }

    #[test]
    fn too_many_items_is_one_violation() {
        let full = Order {
            items: vec![item("a", 1, 1); 1000],
            ..request()
        };
        assert_eq!(place(full, "EUR", 1).expect("at the limit").total, 1000);
        let over = Order {
            items: vec![item("a", 1, 1); 1001],
            ..request()
        };
        assert_eq!(
            violations(over),
            [("items".to_owned(), "must have at most 1000 entries".to_owned())]
        );
    }

    #[test]
    fn an_unusable_default_currency_is_told_like_a_given_one() {
        let list = place(request(), "euro", 1).expect_err("bad default").into_list();
        assert_eq!(list[0].field, "currency");
    }
}
