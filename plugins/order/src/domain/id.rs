//! Names of orders.

use super::hex;

/// Random bytes an order's name is made of.
pub const RANDOM_BYTES: usize = 6;

/// `ORD-` and 12 upper-case hexadecimal digits.
///
/// 48 bits are few enough that a large shop will meet a name twice: whoever stores the order must try again
/// with fresh bytes when the name is taken.
pub fn from_random(bytes: [u8; RANDOM_BYTES]) -> String {
    let mut id = String::with_capacity(4 + 2 * RANDOM_BYTES);
    id.push_str("ORD-");
    hex::push(&mut id, &bytes, hex::UPPER);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_becomes_two_upper_case_digits() {
        assert_eq!(
            from_random([0x00, 0x0f, 0xa0, 0xff, 0x12, 0x9c]),
            "ORD-000FA0FF129C"
        );
    }
}
