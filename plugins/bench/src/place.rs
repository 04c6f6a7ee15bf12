//! The logic, free of any server: the benchmark compiles this file into a native one too.

use super::pb::{Confirmation, Order};

/// Checks an order and sums it up.
///
/// # Errors
/// Says what is wrong with the order.
pub fn place(order: &Order) -> Result<Confirmation, &'static str> {
    if order.customer_id.is_empty() {
        return Err("customer_id must not be empty");
    }
    let mut total: i64 = 0;
    for item in &order.items {
        if item.sku.is_empty() || item.quantity < 1 || item.price < 0 {
            return Err("items must have a sku, a quantity and a price");
        }
        let sum = item
            .price
            .checked_mul(i64::from(item.quantity))
            .and_then(|sum| total.checked_add(sum));
        total = sum.ok_or("the total is too large")?;
    }
    if total == 0 {
        return Err("the total must not be zero");
    }
    let order_id = format!("ORD-{:012X}", checksum(order));
    Ok(Confirmation {
        status: "CONFIRMED".into(),
        order_id,
        total,
    })
}

/// FNV-1a over the texts of the order: some work that depends on every byte.
fn checksum(order: &Order) -> u64 {
    let skus = order.items.iter().flat_map(|item| item.sku.bytes());
    let hash = order
        .customer_id
        .bytes()
        .chain(skus)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    hash & 0xffff_ffff_ffff
}
